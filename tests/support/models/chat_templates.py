"""Published chat templates, reduced to the branches that the messages of diffusers' pipelines reach."""

from __future__ import annotations

# Qwen3: one message of the user, without tools.
QWEN3_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
# Mistral Small 3 and Ministral 3: messages of the system and of the user, as lists of parts.
MISTRAL_SMALL_TEMPLATE = (
    "{{- bos_token }}{{- '[SYSTEM_PROMPT]' -}}{%- for block in messages[0]['content'] %}{{- block['text'] }}"
    "{%- endfor %}{{- '[/SYSTEM_PROMPT]' -}}{%- for message in messages[1:] %}{{- '[INST]' }}"
    "{%- for block in message['content'] %}{{- block['text'] }}{%- endfor %}{{- '[/INST]' }}{%- endfor %}"
)
