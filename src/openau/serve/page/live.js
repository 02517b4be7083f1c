// The camera: pictures go out through a WebSocket, at most two at a time unanswered, and bars come back.

import { Bars } from "./bars.js";
import { $, save, tell } from "./dom.js";
import { drawFaces } from "./overlay.js";
import { Timeline } from "./timeline.js";

const WIDTH = 640; // of the pictures that are sent
const QUALITY = 0.8;
const UNANSWERED = 2;
const SECONDS = 20;
const DRAW_EVERY = 100; // ms, of the timeline and the figures

export class Live {
  constructor(catalogue) {
    this.catalogue = catalogue;
    this.video = $("live-video");
    this.buffer = document.createElement("canvas");
    this.recording = null;
    this.recorded = [];
    this.#reset();
    this.#useModel($("live-model").value);
    $("live-start").addEventListener("click", () => this.start());
    $("live-stop").addEventListener("click", () => this.stop());
    $("live-record").addEventListener("click", () => this.#toggleRecording());
    $("live-save").addEventListener("click", () => this.#save());
    $("live-mirror").addEventListener("change", () => this.#mirror());
    $("live-model").addEventListener("change", () => {
      this.#useModel($("live-model").value);
      if (this.stream) this.#connect();
    });
    document.addEventListener("visibilitychange", () => this.#sendNext());
    this.#mirror();
  }

  async start() {
    tell($("live-notice"), "");
    $("live-start").disabled = true;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: WIDTH }, height: { ideal: 480 }, frameRate: { ideal: 30 } }, audio: false });
    } catch (error) {
      $("live-start").disabled = false;
      tell($("live-notice"), this.#whyNoCamera(error), true);
      return;
    }
    this.stream.getVideoTracks()[0].addEventListener("ended", () => {
      this.stop();
      tell($("live-notice"), "The camera went away. Plug it in again, then start it.", true);
    });
    this.video.srcObject = this.stream;
    await this.video.play();
    $("live-empty").hidden = true;
    $("live-stop").disabled = $("live-record").disabled = false;
    $("live-stop").focus();
    this.#connect();
    this.#watchFrames();
  }

  stop() {
    this.#stopRecording();
    this.socket?.close();
    this.socket = null;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
    $("live-empty").hidden = false;
    $("live-start").disabled = false;
    $("live-stop").disabled = $("live-record").disabled = true;
    $("live-overlay").getContext("2d").clearRect(0, 0, 9999, 9999);
    this.bars.show(null);
    this.#reset();
    this.#figures();
  }

  #whyNoCamera(error) {
    if (error.name === "NotAllowedError") return "The browser may not use the camera. Allow it in the address bar, then start again.";
    if (error.name === "NotFoundError") return "There is no camera on this machine.";
    if (error.name === "NotReadableError") return "Another program uses the camera. Close it, then start again.";
    if (!navigator.mediaDevices) return "Browsers give a camera only to pages of this machine or with https.";
    return `The camera cannot be used: ${error.message}`;
  }

  #reset() {
    this.samples = [];
    this.unanswered = 0;
    this.skipped = 0;
    this.dropped = 0;
    this.latencies = [];
    this.times = [];
    this.ms = null;
    this.began = null;
    this.fresh = false;
  }

  #useModel(name) {
    this.model = this.catalogue.models.find((model) => model.name === name);
    this.bars = new Bars($("live-bars"), this.model.aus);
    this.bars.show(null);
    const old = $("live-timeline");
    const canvas = old.cloneNode();
    old.replaceWith(canvas);
    this.timeline = new Timeline(canvas, this.model.aus);
    this.samples = [];
    this.#stopRecording();
  }

  #mirror() {
    $("live-stage").classList.toggle("mirrored", $("live-mirror").checked);
  }

  #connect() {
    this.socket?.close();
    this.#reset();
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/live?model=${encodeURIComponent(this.model.name)}`);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", (event) => socket === this.socket && this.#hear(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => {
      if (socket !== this.socket) return;
      this.socket = null;
      if (!this.stream) return;
      if (event.reason === "idle") return; // the next frame opens it again
      this.stop();
      tell($("live-notice"), event.wasClean ? `The connection was closed: ${event.reason || "no reason given"}.` : "There is no connection to OpenAU: it has ended, or serves enough live pages already.", true);
    });
    this.socket = socket;
  }

  #watchFrames() {
    const next = () => {
      if (!this.stream) return;
      this.fresh = true;
      this.#sendNext();
      this.video.requestVideoFrameCallback(next);
    };
    this.video.requestVideoFrameCallback(next);
  }

  #sendNext() {
    if (!this.stream || !this.fresh || document.hidden) return;
    if (!this.socket) this.#connect();
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (this.unanswered >= UNANSWERED || this.encoding) {
      this.skipped += this.began === null ? 0 : 1;
      this.fresh = false;
      return;
    }
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth) return;
    const width = Math.min(WIDTH, videoWidth);
    this.buffer.width = width;
    this.buffer.height = Math.round((videoHeight * width) / videoWidth);
    this.buffer.getContext("2d").drawImage(this.video, 0, 0, this.buffer.width, this.buffer.height);
    this.fresh = false;
    this.encoding = true;
    const clock = performance.now();
    const socket = this.socket;
    this.buffer.toBlob(async (blob) => {
      const jpeg = blob && (await blob.arrayBuffer());
      this.encoding = false;
      if (!jpeg || socket !== this.socket || socket.readyState !== WebSocket.OPEN) return;
      const message = new Uint8Array(8 + jpeg.byteLength);
      new DataView(message.buffer).setFloat64(0, clock, true);
      message.set(new Uint8Array(jpeg), 8);
      this.unanswered += 1;
      socket.send(message);
    }, "image/jpeg", QUALITY);
  }

  #hear(answer) {
    if (answer.type === "hello") return this.#sendNext();
    // Frames that a newer one replaced get no answer of their own.
    this.unanswered = Math.max(0, this.unanswered - 1 - (answer.dropped - this.dropped));
    this.dropped = answer.dropped;
    if (answer.type === "problem") return tell($("live-notice"), answer.detail, true);
    const now = performance.now();
    this.began ??= now;
    this.ms = answer.ms;
    this.latencies.push(now - answer.clock);
    this.times.push(now);
    while (this.times[0] < now - 2000) this.times.shift();
    if (this.latencies.length > 60) this.latencies.shift();
    const largest = answer.faces.reduce((a, b) => (a && a.box[2] * a.box[3] >= b.box[2] * b.box[3] ? a : b), null);
    this.bars.show(largest?.values ?? null);
    $("live-who").textContent = answer.faces.length > 1 ? `Action Units of face ${largest.id + 1}, the largest` : answer.faces.length ? "Action Units" : "No face to be seen";
    drawFaces($("live-overlay"), answer.width, answer.height, answer.faces, this.catalogue.contours, { lines: $("live-lines").checked, chosen: largest?.id, flipped: $("live-mirror").checked });
    const time = (now - this.began) / 1000;
    this.samples.push({ time, values: largest?.values ?? null });
    while (this.samples[0].time < time - SECONDS) this.samples.shift();
    if (this.recording !== null) this.#record(answer, now);
    if (now - (this.drawn ?? 0) > DRAW_EVERY) {
      this.drawn = now;
      this.timeline.show(this.samples, time - SECONDS, time, true);
      this.#figures();
    }
  }

  #figures() {
    const middle = [...this.latencies].sort((a, b) => a - b)[this.latencies.length >> 1];
    const span = this.times.length > 1 ? (this.times.at(-1) - this.times[0]) / 1000 : 0;
    $("live-fps").textContent = span ? ((this.times.length - 1) / span).toFixed(0) : "–";
    $("live-latency").textContent = middle === undefined ? "–" : `${middle.toFixed(0)} ms`;
    $("live-ms").textContent = this.ms === null ? "–" : `${this.ms.toFixed(0)} ms`;
    $("live-dropped").textContent = this.began === null ? "–" : `${this.dropped + this.skipped}`;
  }

  #toggleRecording() {
    if (this.recording !== null) return this.#stopRecording();
    this.recording = performance.now();
    this.recorded = [];
    $("live-record").setAttribute("aria-pressed", "true");
    $("live-record-text").textContent = "Stop recording";
    $("live-save").disabled = true;
  }

  #stopRecording() {
    if (this.recording === null) return;
    this.recording = null;
    $("live-record").setAttribute("aria-pressed", "false");
    $("live-record-text").textContent = "Record";
    $("live-save").disabled = !this.recorded.length;
    if (this.recorded.length) tell($("live-notice"), `${this.recorded.length} rows were recorded in this page. Save them as CSV, or they are gone with it.`);
  }

  #record(answer, now) {
    const frame = (this.recorded.at(-1)?.frame ?? -1) + 1;
    const time = Math.max(0, answer.clock - this.recording) / 1000;
    for (const face of answer.faces.length ? answer.faces : [null]) this.recorded.push({ frame, time, face });
    $("live-record-text").textContent = `Stop recording (${((now - this.recording) / 1000).toFixed(0)} s)`;
  }

  #save() {
    const columns = Object.keys(this.recorded.find((row) => row.face)?.face.values ?? {});
    const head = ["source", "frame", "timestamp", "face_id", "score", "x", "y", "width", "height", "pitch", "yaw", "roll", ...columns];
    const lines = this.recorded.map(({ frame, time, face }) => {
      const rest = face ? [face.id, face.score, ...face.box, ...face.pose, ...columns.map((name) => face.values[name])] : Array(head.length - 3).fill("");
      return ["camera", frame, time.toFixed(3), ...rest].join(",");
    });
    const moment = new Date().toISOString().slice(0, 19).replace(/[:T]/g, "-");
    save(`openau-live-${moment}.csv`, `${head.join(",")}\n${lines.join("\n")}\n`, "text/csv");
  }
}
