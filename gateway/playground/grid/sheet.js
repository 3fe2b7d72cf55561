// A grid as a table that fills while its images are made, and as one PNG with labels.

const MAX_SIDE = 8192; // pixels of the file; browsers draw no larger ones everywhere
const GAP = 8; // pixels
const FONT = "system-ui, sans-serif";
const [PAPER, INK, SOFT] = ["#ffffff", "#26221d", "#6b6257"];

/** Return the empty table of a grid: {element, draw(row, column, blob), fail(row, column, text)}. */
export function createTable(title, x, y, size, onOpen) {
  const element = document.createElement("table");
  element.className = "sheet";
  element.style.setProperty("--columns", x.names.length + 1);
  element.append(Object.assign(document.createElement("caption"), { textContent: title }));
  const head = element.createTHead().insertRow();
  head.append(document.createElement("td"), ...x.names.map((name) => heading("col", name)));
  const body = element.createTBody();
  const cells = y.names.map((name, row) => {
    const line = body.insertRow();
    line.append(heading("row", name));
    return x.names.map((_, column) => createCell(line.insertCell(), size, () => onOpen(row, column)));
  });
  return {
    element,
    async draw(row, column, blob) {
      const bitmap = await createImageBitmap(blob);
      const { canvas } = cells[row][column];
      Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
      canvas.style.setProperty("--ratio", bitmap.width / bitmap.height);
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      canvas.classList.add("drawn");
      bitmap.close();
    },
    finish: (row, column) => (cells[row][column].button.disabled = false),
    fail(row, column, text) {
      cells[row][column].button.title = text;
      cells[row][column].canvas.classList.add("failed");
    },
  };
}

function heading(scope, textContent) {
  return Object.assign(document.createElement("th"), { scope, textContent });
}

function createCell(cell, [width, height], open) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height, className: "tile" });
  canvas.style.setProperty("--ratio", width / height);
  const button = Object.assign(document.createElement("button"), { type: "button", disabled: true, title: "Show it large" });
  button.setAttribute("aria-label", "Show it large");
  button.append(canvas);
  button.addEventListener("click", open);
  cell.append(button);
  return { canvas, button };
}

/**
 * Return a PNG of the grid. `blobs` are rows of images, null where there is none; `x` and `y` have `names` for the
 * columns and rows; `lines` are the text below the title.
 */
export async function draw(title, lines, x, y, blobs) {
  const bitmaps = await Promise.all(blobs.map((row) => Promise.all(row.map((blob) => blob && createImageBitmap(blob)))));
  const layout = measure(title, lines, x, y, bitmaps.flat().filter(Boolean));
  const canvas = new OffscreenCanvas(layout.width, layout.height);
  const context = canvas.getContext("2d");
  context.fillStyle = PAPER;
  context.fillRect(0, 0, canvas.width, canvas.height);
  paintText(context, title, lines, x, y, layout);
  context.imageSmoothingQuality = "high";
  for (const [row, line] of bitmaps.entries()) {
    for (const [column, bitmap] of line.entries()) if (bitmap) paintImage(context, bitmap, row, column, layout);
  }
  return canvas.convertToBlob({ type: "image/png" });
}

/** Return where everything is, in pixels. */
function measure(title, lines, x, y, bitmaps) {
  const natural = [Math.max(...bitmaps.map(({ width }) => width)), Math.max(...bitmaps.map(({ height }) => height))];
  const scale = Math.min(1, MAX_SIDE / ((natural[0] + GAP) * (x.names.length + 1)), MAX_SIDE / ((natural[1] + GAP) * (y.names.length + 1)));
  const [cellWidth, cellHeight] = natural.map((side) => Math.max(64, Math.round(side * scale)));
  const font = Math.max(13, Math.round(cellWidth / 18));
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.font = `600 ${font}px ${FONT}`;
  const left = Math.min(cellWidth, Math.ceil(Math.max(0, ...y.names.map((name) => context.measureText(name).width))) + 2 * GAP);
  const width = left + x.names.length * (cellWidth + GAP) + GAP;
  const heads = wrap(context, title, width - 2 * GAP).slice(0, 3);
  const top = GAP + (heads.length + lines.length) * font * 1.4 + font * 2;
  return { cellWidth, cellHeight, font, left, top, heads, width, height: Math.ceil(top + y.names.length * (cellHeight + GAP)) };
}

function paintText(context, title, lines, x, y, { cellWidth, cellHeight, font, left, top, heads, width }) {
  context.textBaseline = "top";
  const rows = [...heads.map((text) => [text, INK, 600]), ...lines.map((text) => [text, SOFT, 400])];
  for (const [index, [text, colour, weight]] of rows.entries()) {
    context.font = `${weight} ${font}px ${FONT}`;
    context.fillStyle = colour;
    context.fillText(text, GAP, GAP + index * font * 1.4, width - 2 * GAP);
  }
  context.font = `600 ${font}px ${FONT}`;
  context.fillStyle = INK;
  context.textAlign = "center";
  for (const [column, name] of x.names.entries()) context.fillText(name, left + column * (cellWidth + GAP) + cellWidth / 2, top - font * 1.5, cellWidth);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const [row, name] of y.names.entries()) context.fillText(name, left - GAP, top + row * (cellHeight + GAP) + cellHeight / 2, left - GAP);
}

function paintImage(context, bitmap, row, column, { cellWidth, cellHeight, left, top }) {
  const scale = Math.min(cellWidth / bitmap.width, cellHeight / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const x = left + column * (cellWidth + GAP) + (cellWidth - width) / 2;
  const y = top + row * (cellHeight + GAP) + (cellHeight - height) / 2;
  context.drawImage(bitmap, x, y, width, height);
  bitmap.close();
}

/** Return a text in lines that are at most `width` wide. */
function wrap(context, text, width) {
  const lines = [""];
  for (const word of text.slice(0, 1000).split(/\s+/)) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (lines.at(-1) && context.measureText(longer).width > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
