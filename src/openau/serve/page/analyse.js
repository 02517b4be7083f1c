// Photos and videos: dropped, judged one after the other, shown with their tables.

import { Bars } from "./bars.js";
import { $, ask, isLocal, make, save, sentence, stem, tell } from "./dom.js";
import { drawCloseup, drawFaces } from "./overlay.js";
import { Timeline } from "./timeline.js";

const BINS = 600; // of a video's timeline
const PAUSE = 400; // ms between two questions how far a video is
const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m?ts|wmv|flv|3gp|ogv|y4m|mjpe?g|gif)$/i;

export class Analyse {
  constructor(catalogue) {
    this.catalogue = catalogue;
    this.queue = [];
    const drop = $("drop");
    const megabytes = Math.round(catalogue.limits.bytes / 1e6);
    $("drop-limits").textContent = `They are judged on ${isLocal ? "this machine" : "the machine OpenAU runs on"} and deleted as soon as that is done. Up to ${megabytes.toLocaleString("en")} MB, videos up to ${Math.round(catalogue.limits.seconds / 60)} minutes.`;
    $("report-choice").hidden = !catalogue.report;
    $("report").checked &&= catalogue.report;
    $("choose").addEventListener("click", () => $("files").click());
    $("files").addEventListener("change", () => {
      this.add([...$("files").files]);
      $("files").value = "";
    });
    for (const kind of ["dragover", "drop", "dragleave"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragover" && !$("analyse").hidden);
        if (kind === "drop" && !$("analyse").hidden) this.add([...event.dataTransfer.files]);
      });
    }
  }

  add(files) {
    for (const file of files) {
      const item = new Item(this.catalogue, file, $("analyse-model").value, $("report").checked);
      $("items").prepend(item.element);
      this.queue.push(item);
    }
    this.#work();
  }

  async #work() {
    if (this.working) return;
    this.working = true;
    while (this.queue.length) await this.queue.shift().run();
    this.working = false;
  }
}

class Item {
  constructor(catalogue, file, model, report) {
    this.report = report;
    this.catalogue = catalogue;
    this.file = file;
    this.model = catalogue.models.find((one) => one.name === model);
    this.url = URL.createObjectURL(file);
    this.what = make("span", { class: "what" }, "waiting");
    this.buttons = make("div", { class: "buttons" });
    this.bar = make("progress", { max: 1, value: 0, "aria-label": `Progress of ${file.name}` });
    this.notice = make("p", { class: "notice", hidden: true });
    this.body = make("div");
    this.close = make("button", { class: "quiet", "aria-label": `Remove ${file.name}`, onclick: () => this.remove() }, "Remove");
    this.buttons.append(this.close);
    this.element = make("article", { class: "panel item", "aria-label": file.name },
      make("div", { class: "item-head" }, make("h2", {}, file.name), this.what, this.buttons), this.bar, this.notice, this.body);
  }

  async run() {
    if (this.removed) return;
    try {
      const { limits } = this.catalogue;
      if (this.file.size > limits.bytes) throw new Error(`${this.file.name}: is larger than this server takes (${Math.round(limits.bytes / 1e6)} MB).`);
      this.what.textContent = "sending";
      const response = await this.#send();
      const answer = JSON.parse(response.responseText);
      if (response.status === 202) await this.#follow(answer);
      else this.#photo(answer);
    } catch (error) {
      if (this.removed) return;
      this.bar.hidden = true;
      this.what.textContent = "failed";
      this.element.classList.add("failed");
      tell(this.notice, error.message, true);
    }
  }

  remove() {
    this.removed = true;
    this.request?.abort();
    if (this.job) fetch(this.job, { method: "DELETE" });
    URL.revokeObjectURL(this.url);
    this.element.remove();
  }

  // XMLHttpRequest, because fetch does not tell how much it has sent
  #send() {
    const form = new FormData();
    form.append("file", this.file);
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      request.open("POST", `/v1/detect?landmarks=true&report=${this.report}&model=${encodeURIComponent(this.model.name)}`);
      request.upload.addEventListener("progress", (event) => (this.bar.value = (0.1 * event.loaded) / event.total));
      request.upload.addEventListener("load", () => {
        this.bar.removeAttribute("value");
        this.what.textContent = "looking";
      });
      request.addEventListener("load", async () => {
        if (request.status < 300) return resolve(request);
        reject(new Error(await sentence({ status: request.status, json: async () => JSON.parse(request.responseText) })));
      });
      request.addEventListener("error", () => reject(new Error("OpenAU does not answer. Is `openau serve` still running?")));
      request.send(form);
    });
  }

  #photo(answer) {
    this.bar.hidden = true;
    const count = answer.faces;
    this.what.textContent = `${answer.width} × ${answer.height}, ${count === 0 ? "no face found" : count === 1 ? "1 face" : `${count} faces`}`;
    const image = make("img", { src: this.url, alt: this.file.name });
    const canvas = make("canvas", { "aria-hidden": "true" });
    const picture = make("div", { class: "picture" }, image, canvas);
    const side = make("div");
    this.body.replaceChildren(make("div", { class: "item-body" }, make("div", {}, picture), side));
    const names = Object.keys(answer.rows[0]);
    this.buttons.prepend(make("button", { onclick: () => save(`${stem(this.file.name)}_aus.csv`, csv(names, answer.rows), "text/csv") }, "Save CSV"));
    if (!count) {
      tell(this.notice, "No face was found. Faces should be at least 40 pixels wide and not turned away.");
      return;
    }
    const faces = answer.rows.map((row, i) => ({ id: row.face_id, box: [row.x, row.y, row.width, row.height], landmarks: answer.landmarks[i], values: row }));
    const people = make("div", { class: "people", role: "group", "aria-label": "Faces" });
    const place = make("div");
    const closeup = make("canvas", { class: "closeup", width: 440, height: 440, "aria-hidden": "true" });
    picture.after(closeup);
    side.append(...(count > 1 ? [people] : []), place);
    const bars = new Bars(place, this.model.aus);
    let chosen = faces[0];
    image.addEventListener("load", () => drawCloseup(closeup, image, chosen, answer.width, this.catalogue.contours));
    const choose = (face) => {
      chosen = face;
      bars.show(face.values);
      if (image.complete) drawCloseup(closeup, image, face, answer.width, this.catalogue.contours);
      drawFaces(canvas, answer.width, answer.height, faces, this.catalogue.contours, { chosen: face.id });
      [...people.children].forEach((button, i) => button.setAttribute("aria-pressed", String(faces[i] === face)));
    };
    people.append(...faces.map((face) => make("button", { onclick: () => choose(face) }, `Face ${face.id + 1}`)));
    choose(faces[0]);
    this.body.append(table(names, answer.rows));
  }

  async #follow(job) {
    this.job = `/v1/jobs/${job.id}`;
    while (job.state === "queued" || job.state === "running") {
      if (this.removed) return;
      if (job.state === "queued") this.what.textContent = job.ahead ? `waiting, ${job.ahead} before it` : "waiting";
      else {
        this.what.textContent = job.progress === null ? `${job.frames} frames${this.report ? ", writing the report" : ""}` : `${Math.round(100 * job.progress)} %, ${job.frames} frames`;
        if (job.progress === null) this.bar.removeAttribute("value");
        else this.bar.value = 0.1 + 0.9 * job.progress;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      job = await (await ask(this.job)).json();
    }
    if (job.state === "failed") throw new Error(job.problem);
    if (job.problem) tell(this.notice, `${job.problem}. What could be read is here.`);
    await this.#video(job);
  }

  async #video(job) {
    const lines = (await (await ask(`${this.job}/result?format=jsonl`)).text()).trim().split("\n");
    const rows = lines.map((line) => JSON.parse(line));
    this.bar.hidden = true;
    const ids = [...new Set(rows.filter((row) => row.face_id !== null).map((row) => row.face_id))];
    const end = rows.at(-1).timestamp;
    this.what.textContent = `${job.width} × ${job.height}, ${end.toFixed(1)} s, ${job.frames} frames, ${ids.length === 1 ? "1 face" : `${ids.length} faces`}`;
    const link = (text, path, name) => make("a", { class: "button", href: `${this.job}/${path}`, ...(name === undefined ? { download: true } : { target: "_blank" }) }, text);
    const links = job.formats.filter((kind) => kind !== "jsonl").map((kind) => link(kind === "csv" ? "Save CSV" : "Save Parquet", `result?format=${kind}`));
    if (job.report) links.unshift(link("Report", "report", null));
    this.buttons.prepend(...links);
    const video = make("video", { src: this.url, controls: true, muted: true, playsinline: true, "aria-label": this.file.name });
    const side = make("div");
    const canvas = make("canvas", { class: "timeline", role: "img", "aria-label": `Action Units over time of ${this.file.name}` });
    this.body.replaceChildren(make("div", { class: "item-body" }, make("div", { class: "picture" }, video), side), make("div", { class: "panel-head" }, make("h3", {}, "Over time"), make("span", { class: "hint" }, "click to go there")), canvas, table(Object.keys(rows[0]), rows));
    const people = make("div", { class: "people", role: "group", "aria-label": "Faces" });
    const place = make("div");
    side.append(...(ids.length > 1 ? [people] : []), place);
    const bars = new Bars(place, this.model.aus);
    const timeline = new Timeline(canvas, this.model.aus);
    let own = [];
    let moment = 0; // also where the browser cannot play the video
    const show = () => {
      timeline.cursor = moment;
      timeline.draw();
      bars.show(nearest(own, moment));
    };
    const follow = () => {
      moment = video.currentTime;
      show();
    };
    const choose = (id) => {
      own = rows.filter((row) => row.face_id === id);
      timeline.show(binned(own, end), 0, Math.max(end, 0.1));
      [...people.children].forEach((button, i) => button.setAttribute("aria-pressed", String(ids[i] === id)));
      show();
    };
    people.append(...ids.slice(0, 12).map((id) => make("button", { onclick: () => choose(id) }, `Face ${id + 1}`)));
    canvas.addEventListener("click", (event) => {
      moment = timeline.timeAt(event.offsetX);
      show();
      if (video.readyState) video.currentTime = moment;
    });
    for (const kind of ["timeupdate", "seeked"]) video.addEventListener(kind, () => video.error || follow());
    video.addEventListener("error", () => tell(this.notice, "This browser cannot play the video; its table and timeline are whole."));
    if (ids.length) choose(ids[0]);
    else tell(this.notice, "No face was found in this video.");
  }
}

// The rows of one face as at most BINS samples, each the strongest of its time; null where the face is away.
function binned(rows, end) {
  const width = Math.max(end / BINS, 1e-3);
  const step = rows.length > 1 ? Math.max(width, 1.5 * median(rows.slice(1, 100).map((row, i) => row.timestamp - rows[i].timestamp))) : width;
  const samples = [];
  for (const row of rows) {
    const last = samples.at(-1);
    if (last && row.timestamp - last.time < width) {
      for (const key of Object.keys(row)) if (key.startsWith("AU") && row[key] > last.values[key]) last.values[key] = row[key];
      last.until = row.timestamp;
      continue;
    }
    if (last && row.timestamp - last.until > 2 * step) samples.push({ time: last.until + step, values: null });
    samples.push({ time: row.timestamp, until: row.timestamp, values: { ...row } });
  }
  if (samples.length) samples.push({ time: samples.at(-1).until + step, values: null });
  return samples;
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;

function nearest(rows, time) {
  let low = 0;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle].timestamp <= time + 1e-3) low = middle;
    else high = middle - 1;
  }
  const row = rows[low];
  return row && Math.abs(row.timestamp - time) < 0.5 ? row : null;
}

const cell = (value) => (value === null ? "" : /[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : value);
const csv = (names, rows) => [names.join(","), ...rows.map((row) => names.map((name) => cell(row[name])).join(","))].join("\n") + "\n";

function table(names, rows) {
  const most = 200;
  const shown = names.filter((name) => name !== "source");
  const body = make("tbody");
  const details = make("details", {}, make("summary", {}, rows.length > most ? `Table (the first ${most} of ${rows.length.toLocaleString("en")} rows)` : "Table"),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table" }, make("table", {}, make("thead", {}, make("tr", {}, ...shown.map((name) => make("th", { scope: "col" }, name)))), body)));
  details.addEventListener("toggle", () => {
    if (!body.children.length) body.append(...rows.slice(0, most).map((row) => make("tr", {}, ...shown.map((name) => make("td", {}, row[name] === null ? "–" : String(row[name]))))));
  });
  return details;
}
