// A grid: its images are requests of the queue, its row in the queue stands for all of them.

import { addGroup, enqueue } from "../results/queue.js";
import { addImage } from "../results/gallery.js";
import { facts } from "../results/facts.js";
import { cellRequest } from "./panel.js";
import { createTable, draw } from "./sheet.js";

/**
 * Make the images of a plan: {request, x, y, keep}. `follow(group)` shows it, `choose(image)` shows one of its images,
 * `finish(group, image)` the sheet.
 */
export async function run(plan, { follow, choose, finish, leave }) {
  const { request, x, y } = plan;
  const size = (request.size ?? "1x1").split("x").map(Number);
  const blobs = y.values.map(() => x.values.map(() => null));
  const records = y.values.map(() => x.values.map(() => null));
  const table = createTable(request.prompt, x, y, size, (row, column) => records[row][column] && choose(records[row][column]));
  const jobs = [];
  const group = addGroup({ label: `X/Y grid: ${[x.label, y.label].filter(Boolean).join(" and ")}`, tiles: table.element, request, onCancel: () => jobs.forEach((job) => job.cancel()) });
  follow(group);
  let done = 0;
  const total = x.values.length * y.values.length;
  group.show(0, total);
  for (const [row, line] of blobs.entries()) {
    for (const column of line.keys()) {
      const job = enqueue(cellRequest(plan, row, column), {
        row: false,
        keep: plan.keep,
        onEvent: (_, blob) => blob && table.draw(row, column, blob).catch(() => {}),
      });
      jobs.push(job);
      job.done.then(
        ([record]) => {
          records[row][column] = record;
          blobs[row][column] = record.blob;
          if (plan.keep) table.finish(row, column);
          group.show(++done, total);
        },
        (error) => table.fail(row, column, error.message),
      );
    }
  }
  await end(plan, group, jobs, blobs, { finish, leave });
}

async function end(plan, group, jobs, blobs, { finish, leave }) {
  const results = await Promise.allSettled(jobs.map(({ done }) => done));
  const problem = results.find(({ reason }) => reason && reason.name !== "AbortError")?.reason;
  group.remove();
  if (!blobs.flat().some(Boolean)) {
    leave(group, problem);
    return;
  }
  const { request, x, y } = plan;
  const { n, ...base } = request;
  const settings = facts(base).filter(([key]) => ![x.key, y.key].includes(key)).map(([, label, text]) => `${label} ${text}`);
  const lines = [`X: ${x.label}${y.key ? `, Y: ${y.label}` : ""}`, settings.join(", ")];
  const sheet = await draw(request.prompt, lines, x, y, blobs);
  const axes = Object.fromEntries([x, y].filter(({ key }) => key).map(({ key, values }, index) => [index ? "y" : "x", { setting: key, values }]));
  finish(group, await addImage({ blob: sheet, request: base, grid: axes }), problem);
}
