"""Writing models of diffusers as single files in their original names: the inverse of what the service reads.

It is written as rules on whole state dicts, from the layouts of the original repositories, so that it shares nothing
with the service's tables.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    State = dict[str, torch.Tensor]

RESNET = (
    (".norm1.", ".in_layers.0."),
    (".conv1.", ".in_layers.2."),
    (".norm2.", ".out_layers.0."),
    (".conv2.", ".out_layers.3."),
    (".time_emb_proj.", ".emb_layers.1."),
    (".conv_shortcut.", ".skip_connection."),
)
UNET_ENDS = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
)


def replaced(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        name = name.replace(old, new)
    return name


def unet_state(unet: Any) -> State:
    """Return a UNet's tensors in original names: blocks are numbered in the order in which they are called."""
    state = unet.state_dict()
    places: dict[str, str] = {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1"}
    places["mid_block.resnets.1"] = "middle_block.2"
    number = 0
    for level, block in enumerate(unet.down_blocks):
        for layer in range(len(block.resnets)):
            number += 1
            places[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{number}.0"
            places[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{number}.1"
        if block.downsamplers:
            number += 1
            places[f"down_blocks.{level}.downsamplers.0"] = f"input_blocks.{number}.0"
    number = -1
    for level, block in enumerate(unet.up_blocks):
        attends = bool(getattr(block, "attentions", None))
        for layer in range(len(block.resnets)):
            number += 1
            places[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{number}.0"
            places[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{number}.1"
        places[f"up_blocks.{level}.upsamplers.0"] = f"output_blocks.{number}.{1 + attends}"
    made = {}
    for name, tensor in state.items():
        place = next((place for place in places if name.startswith(place + ".")), None)
        if place is None:
            made[next(new + name[len(old) :] for old, new in UNET_ENDS if name.startswith(old))] = tensor
            continue
        rest = name[len(place) :]
        rest = replaced(rest, RESNET) if ".resnets." in name else rest
        made[places[place] + (rest.replace(".conv.", ".op.") if ".downsamplers." in name else rest)] = tensor
    return made


def vae_state(vae: Any) -> State:
    """Return a VAE's tensors in original names; its attention as convolutions, its decoder's levels in reverse."""
    last, made = len(vae.config.block_out_channels) - 1, {}
    # FLUX.2's VAE has the convolutions of the latents inside its halves.
    inside = {"quant_conv": "encoder.quant_conv", "post_quant_conv": "decoder.post_quant_conv"}
    inside = inside if hasattr(vae, "bn") else {}
    for name, tensor in vae.state_dict().items():
        first, dot, rest = name.partition(".")
        new = f"{inside.get(first, first)}{dot}{rest}"
        new = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", new)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{last - int(m[1])}.block.{m[2]}", new)
        new = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = new.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "attentions" in new:
            new = new.replace("mid_block.attentions.0", "mid.attn_1").replace("to_out.0", "proj_out")
            new = re.sub(r"\.to_([qkv])\.", r".\1.", new).replace("group_norm", "norm")
        made[new] = tensor[:, :, None, None] if "attn_1" in new and tensor.ndim == 2 else tensor
    return made


def clip_state(model: Any) -> State:
    """Return a CLIP text encoder's tensors in published names, whose prefix transformers 5 dropped."""
    kept = ("text_model.", "text_projection.")
    own = model.state_dict().items()
    return {name if name.startswith(kept) else f"text_model.{name}": tensor for name, tensor in own}


def published_state(model: Any) -> State:
    """Return a module's tensors in the names that published folders have."""
    return clip_state(model) if type(model).__name__.startswith("CLIPTextModel") else model.state_dict()


def open_clip_state(model: Any, *, unused_layer: bool = False) -> State:
    """Return a CLIP text encoder's tensors in OpenCLIP's names, with further layers and projections that files have."""
    state = clip_state(model)
    made = {
        "token_embedding.weight": state.pop("text_model.embeddings.token_embedding.weight"),
        "positional_embedding": state.pop("text_model.embeddings.position_embedding.weight"),
        "ln_final.weight": state.pop("text_model.final_layer_norm.weight"),
        "ln_final.bias": state.pop("text_model.final_layer_norm.bias"),
        "logit_scale": torch.ones(()),
    }
    width = made["token_embedding.weight"].shape[1]
    projection = state.pop("text_projection.weight", torch.ones(width, width) if unused_layer else None)
    if projection is not None:
        made["text_projection"] = projection.T
    layers = model.config.num_hidden_layers
    for layer in range(layers):
        base, block = f"text_model.encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            joined = [state.pop(f"{base}self_attn.{part}_proj.{kind}") for part in "qkv"]
            made[f"{block}attn.in_proj_{kind}"] = torch.cat(joined)
            made[f"{block}attn.out_proj.{kind}"] = state.pop(f"{base}self_attn.out_proj.{kind}")
            for old, new in (("layer_norm1", "ln_1"), ("layer_norm2", "ln_2")):
                made[f"{block}{new}.{kind}"] = state.pop(f"{base}{old}.{kind}")
            for old, new in (("fc1", "c_fc"), ("fc2", "c_proj")):
                made[f"{block}mlp.{new}.{kind}"] = state.pop(f"{base}mlp.{old}.{kind}")
    if unused_layer:
        made |= {
            name.replace("resblocks.0.", f"resblocks.{layers}."): tensor
            for name, tensor in made.items()
            if ".resblocks.0." in name
        }
    assert not [name for name in state if "position_ids" not in name]
    return made


class Joiner:
    """Moves tensors of a transformer's blocks to original names, several of them joined by rows."""

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self.state, self.made = dict(state), dict[str, torch.Tensor]()

    def put(self, new: str, *olds: str, ending: str = "") -> None:
        for kind in ("weight", "bias"):
            if f"{olds[0]}.{kind}" in self.state:
                self.made[f"{new}.{ending or kind}"] = torch.cat([self.state.pop(f"{old}.{kind}") for old in olds])

    def put_swapped(self, new: str, old: str) -> None:
        for kind in ("weight", "bias"):
            if f"{old}.{kind}" in self.state:
                scale, shift = self.state.pop(f"{old}.{kind}").chunk(2)
                self.made[f"{new}.{kind}"] = torch.cat([shift, scale])

    def finished(self) -> State:
        assert not self.state, sorted(self.state)[:3]
        return self.made


def flux_state(transformer: Any) -> State:
    """Return a FLUX.1 transformer's tensors in the names of Black Forest Labs."""
    return _put_flux(Joiner(transformer.state_dict()), transformer.config).finished()


def _put_flux(move: Joiner, config: Any) -> Joiner:
    """Move the layers of a FLUX.1 transformer that are there; Chroma has no modulation in its blocks."""
    move.put("img_in", "x_embedder")
    move.put("txt_in", "context_embedder")
    for new, old in (("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance")):
        move.put(f"{new}.in_layer", f"time_text_embed.{old}_embedder.linear_1")
        move.put(f"{new}.out_layer", f"time_text_embed.{old}_embedder.linear_2")
    for number in range(config.num_layers):
        new, old = f"double_blocks.{number}", f"transformer_blocks.{number}"
        for side, norm, names, out, mlp, added in (
            ("img", "norm1", [f"to_{x}" for x in "qkv"], "to_out.0", "ff", ""),
            ("txt", "norm1_context", [f"add_{x}_proj" for x in "qkv"], "to_add_out", "ff_context", "added_"),
        ):
            move.put(f"{new}.{side}_mod.lin", f"{old}.{norm}.linear")
            move.put(f"{new}.{side}_attn.qkv", *(f"{old}.attn.{name}" for name in names))
            move.put(f"{new}.{side}_attn.norm.query_norm", f"{old}.attn.norm_{added}q", ending="scale")
            move.put(f"{new}.{side}_attn.norm.key_norm", f"{old}.attn.norm_{added}k", ending="scale")
            move.put(f"{new}.{side}_attn.proj", f"{old}.attn.{out}")
            move.put(f"{new}.{side}_mlp.0", f"{old}.{mlp}.net.0.proj")
            move.put(f"{new}.{side}_mlp.2", f"{old}.{mlp}.net.2")
    for number in range(config.num_single_layers):
        new, old = f"single_blocks.{number}", f"single_transformer_blocks.{number}"
        move.put(f"{new}.modulation.lin", f"{old}.norm.linear")
        move.put(f"{new}.linear1", *(f"{old}.attn.to_{x}" for x in "qkv"), f"{old}.proj_mlp")
        move.put(f"{new}.linear2", f"{old}.proj_out")
        move.put(f"{new}.norm.query_norm", f"{old}.attn.norm_q", ending="scale")
        move.put(f"{new}.norm.key_norm", f"{old}.attn.norm_k", ending="scale")
    move.put("final_layer.linear", "proj_out")
    move.put_swapped("final_layer.adaLN_modulation.1", "norm_out.linear")
    return move


def chroma_state(transformer: Any) -> State:
    """Return a Chroma transformer's tensors in original names: those of FLUX.1, and of the network of modulation."""
    move = Joiner(transformer.state_dict())
    network = "distilled_guidance_layer"
    for name in ("in_proj", "out_proj"):
        move.put(f"{network}.{name}", f"{network}.{name}")
    for number in range(transformer.config.approximator_layers):
        layer = f"{network}.layers.{number}"
        move.put(f"{layer}.in_layer", f"{layer}.linear_1")
        move.put(f"{layer}.out_layer", f"{layer}.linear_2")
        move.put(f"{network}.norms.{number}", f"{network}.norms.{number}", ending="scale")
    return _put_flux(move, transformer.config).finished()


def aura_flow_state(transformer: Any) -> State:
    """Return an AuraFlow transformer's tensors in the names of fal."""
    move = Joiner(transformer.state_dict())
    tables = {"register_tokens": "register_tokens", "positional_encoding": "pos_embed.pos_embed"}
    move.made = {new: move.state.pop(old) for new, old in tables.items()}
    for new, old in (("cond_seq_linear", "context_embedder"), ("init_x_linear", "pos_embed.proj")):
        move.put(new, old)
    for number, kind in ((1, 0), (2, 2)):
        move.put(f"t_embedder.mlp.{kind}", f"time_step_proj.linear_{number}")
    move.put("final_linear", "proj_out")
    move.put_swapped("modF.1", "norm_out.linear")
    mlp = {"c_fc1": "linear_1", "c_fc2": "linear_2", "c_proj": "out_projection"}
    for number in range(transformer.config.num_mmdit_layers):
        new, old = f"double_layers.{number}", f"joint_transformer_blocks.{number}"
        for side, ff, norm, place, names in (
            ("X", "ff", "norm1", 2, ("to_q", "to_k", "to_v", "to_out.0")),
            ("C", "ff_context", "norm1_context", 1, ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")),
        ):
            move.put(f"{new}.mod{side}.1", f"{old}.{norm}.linear")
            for part, layer in mlp.items():
                move.put(f"{new}.mlp{side}.{part}", f"{old}.{ff}.{layer}")
            for letter, name in zip("qkvo", names, strict=True):
                move.put(f"{new}.attn.w{place}{letter}", f"{old}.attn.{name}")
    for number in range(transformer.config.num_single_dit_layers):
        new, old = f"single_layers.{number}", f"single_transformer_blocks.{number}"
        move.put(f"{new}.modCX.1", f"{old}.norm1.linear")
        for part, layer in mlp.items():
            move.put(f"{new}.mlp.{part}", f"{old}.ff.{layer}")
        for letter, name in zip("qkvo", ("to_q", "to_k", "to_v", "to_out.0"), strict=True):
            move.put(f"{new}.attn.w1{letter}", f"{old}.attn.{name}")
    return move.finished()


def flux2_state(transformer: Any) -> State:
    """Return a FLUX.2 transformer's tensors in the names of Black Forest Labs."""
    move = Joiner(transformer.state_dict())
    move.put("img_in", "x_embedder")
    move.put("txt_in", "context_embedder")
    for new, old in (("time_in", "timestep"), ("guidance_in", "guidance")):
        move.put(f"{new}.in_layer", f"time_guidance_embed.{old}_embedder.linear_1")
        move.put(f"{new}.out_layer", f"time_guidance_embed.{old}_embedder.linear_2")
    for name in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"):
        move.put(f"{name}.lin", f"{name}.linear")
    for number in range(transformer.config.num_layers):
        new, old = f"double_blocks.{number}", f"transformer_blocks.{number}"
        for side, names, out, mlp, added in (
            ("img", [f"to_{x}" for x in "qkv"], "to_out.0", "ff", ""),
            ("txt", [f"add_{x}_proj" for x in "qkv"], "to_add_out", "ff_context", "added_"),
        ):
            move.put(f"{new}.{side}_attn.qkv", *(f"{old}.attn.{name}" for name in names))
            move.put(f"{new}.{side}_attn.norm.query_norm", f"{old}.attn.norm_{added}q", ending="scale")
            move.put(f"{new}.{side}_attn.norm.key_norm", f"{old}.attn.norm_{added}k", ending="scale")
            move.put(f"{new}.{side}_attn.proj", f"{old}.attn.{out}")
            move.put(f"{new}.{side}_mlp.0", f"{old}.{mlp}.linear_in")
            move.put(f"{new}.{side}_mlp.2", f"{old}.{mlp}.linear_out")
    for number in range(transformer.config.num_single_layers):
        new, old = f"single_blocks.{number}", f"single_transformer_blocks.{number}"
        move.put(f"{new}.linear1", f"{old}.attn.to_qkv_mlp_proj")
        move.put(f"{new}.linear2", f"{old}.attn.to_out")
        move.put(f"{new}.norm.query_norm", f"{old}.attn.norm_q", ending="scale")
        move.put(f"{new}.norm.key_norm", f"{old}.attn.norm_k", ending="scale")
    move.put("final_layer.linear", "proj_out")
    move.put_swapped("final_layer.adaLN_modulation.1", "norm_out.linear")
    return move.finished()


def single_stream_state(transformer: Any) -> State:
    """Return the tensors of Z-Image's or Lumina-Image 2's transformer in the names of Lumina's authors."""
    move = Joiner(transformer.state_dict())
    lumina = "time_caption_embed.caption_embedder.1.weight" in move.state
    embedder = "time_caption_embed.caption_embedder" if lumina else "cap_embedder"
    times = [f"time_caption_embed.timestep_embedder.linear_{n}" for n in (1, 2)] if lumina else ["", ""]
    ends = ["norm_out.linear_2", "norm_out.linear_1"] if lumina else [f"all_final_layer.2-1.{x}" for x in _LAST]
    for name in () if lumina else ("x_pad_token", "cap_pad_token"):
        move.made[name] = move.state.pop(name)
    move.put("x_embedder", "x_embedder" if lumina else "all_x_embedder.2-1")
    for number in (0, 1):
        move.put(f"cap_embedder.{number}", f"{embedder}.{number}")
        move.put(f"t_embedder.mlp.{2 * number}", times[number] or f"t_embedder.mlp.{2 * number}")
        move.put(f"final_layer.{_LAST[number]}", ends[number])
    for kind, blocks in (("layers", "layers"), ("noise_refiner",) * 2, ("context_refiner",) * 2):
        for number in range(len(getattr(transformer, blocks))):
            _put_single_stream_block(move, f"{kind}.{number}", lumina=lumina, modulated=kind != "context_refiner")
    return move.finished()


_LAST = ("linear", "adaLN_modulation.1")


def _put_single_stream_block(move: Joiner, block: str, *, lumina: bool, modulated: bool) -> None:
    attention, number = ("attn", 1) if lumina else ("attention", 0)
    move.put(f"{block}.attention.qkv", *(f"{block}.{attention}.to_{x}" for x in "qkv"))
    move.put(f"{block}.attention.out", f"{block}.{attention}.to_out.0")
    for x in "qk":
        move.put(f"{block}.attention.{x}_norm", f"{block}.{attention}.norm_{x}")
    for n in (1, 2, 3):
        move.put(f"{block}.feed_forward.w{n}", f"{block}.feed_forward.{'linear_' if lumina else 'w'}{n}")
    for n in (1, 2):
        own = f"norm{n}.norm" if modulated and n == 1 else f"norm{n}"
        move.put(f"{block}.attention_norm{n}", f"{block}.{own if lumina else f'attention_norm{n}'}")
        move.put(f"{block}.ffn_norm{n}", f"{block}.ffn_norm{n}")
    if modulated:
        move.put(f"{block}.adaLN_modulation.{number}", f"{block}.{'norm1.linear' if lumina else 'adaLN_modulation.0'}")


def sd3_state(transformer: Any) -> State:
    """Return a Stable Diffusion 3 transformer's tensors in Stability AI's names."""
    move, layers = Joiner(transformer.state_dict()), transformer.config.num_layers
    move.made["pos_embed"] = move.state.pop("pos_embed.pos_embed")
    move.put("x_embedder.proj", "pos_embed.proj")
    move.put("context_embedder", "context_embedder")
    for new, old in (("t_embedder", "timestep_embedder"), ("y_embedder", "text_embedder")):
        move.put(f"{new}.mlp.0", f"time_text_embed.{old}.linear_1")
        move.put(f"{new}.mlp.2", f"time_text_embed.{old}.linear_2")
    for number in range(layers):
        x, old = f"joint_blocks.{number}.x_block", f"transformer_blocks.{number}"
        context, last = f"joint_blocks.{number}.context_block", number == layers - 1
        move.put(f"{x}.adaLN_modulation.1", f"{old}.norm1.linear")
        if last:
            move.put_swapped(f"{context}.adaLN_modulation.1", f"{old}.norm1_context.linear")
        else:
            move.put(f"{context}.adaLN_modulation.1", f"{old}.norm1_context.linear")
            move.put(f"{context}.attn.proj", f"{old}.attn.to_add_out")
        move.put(f"{context}.attn.qkv", *(f"{old}.attn.add_{part}_proj" for part in "qkv"))
        for attention in ("attn", "attn2"):
            if f"{old}.{attention}.to_q.weight" in move.state:
                move.put(f"{x}.{attention}.qkv", *(f"{old}.{attention}.to_{part}" for part in "qkv"))
                move.put(f"{x}.{attention}.proj", f"{old}.{attention}.to_out.0")
        for part in "qk":
            move.put(f"{x}.attn.ln_{part}", f"{old}.attn.norm_{part}")
            move.put(f"{x}.attn2.ln_{part}", f"{old}.attn2.norm_{part}")
            move.put(f"{context}.attn.ln_{part}", f"{old}.attn.norm_added_{part}")
        for side, mlp in ((x, "ff"), (context, "ff_context")):
            move.put(f"{side}.mlp.fc1", f"{old}.{mlp}.net.0.proj")
            move.put(f"{side}.mlp.fc2", f"{old}.{mlp}.net.2")
    move.put("final_layer.linear", "proj_out")
    move.put_swapped("final_layer.adaLN_modulation.1", "norm_out.linear")
    return move.finished()


def prefixed_state(prefix: str, state: Mapping[str, torch.Tensor]) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}
