"use strict";
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const UNKNOWN = 255, STEPS = 250, AXIS = 34, RIGHT = 10, ROW = 46;
  let timeline = null;
  root.classList.add("js");

  // ---- light and dark -------------------------------------------------------------------------------------------
  const theme = document.getElementById("theme");
  const setTheme = (name) => { root.dataset.theme = name; if (timeline) timeline.build(); };
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  theme.hidden = false;
  theme.addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // ---- small helpers --------------------------------------------------------------------------------------------
  const make = (tag, options = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(options)) {
      if (key in node && typeof value !== "string") node[key] = value; else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const clock = (s) => {
    if (s < 60) return `${s.toFixed(2)} s`;
    const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60, r = (s % 60).toFixed(1).padStart(4, "0");
    return h ? `${h}:${String(m).padStart(2, "0")}:${r}` : `${m}:${r}`;
  };

  // ---- the diagram ----------------------------------------------------------------------------------------------
  const rest = new Map();  // of each muscle: what it shows when no moment is chosen
  document.querySelectorAll(".muscle").forEach((m) => rest.set(m, m.style.getPropertyValue("--v")));
  const act = (box, valueOf, when) => {
    box.querySelectorAll(".muscle").forEach((m) => {
      const v = valueOf ? valueOf(Number(m.dataset.au), m.dataset.side) : Number(rest.get(m));
      m.style.setProperty("--v", v === null || Number.isNaN(v) ? 0 : v);
    });
    box.querySelector("[data-when]").textContent = when;
    const top = box.querySelector("[data-top]");
    top.textContent = valueOf ? "1" : top.dataset.top;
    const list = box.querySelector("[data-acting]");
    list.replaceChildren();
    if (!valueOf) return;
    const shown = data.aus.map((a) => [a, valueOf(a.n, "")]).filter(([, v]) => v >= 0.5).sort((a, b) => b[1] - a[1]);
    if (!shown.length) list.textContent = "No Action Unit is present.";
    shown.forEach(([a, v], i) => {
      let side = "";
      if (a.sided) {
        const l = valueOf(a.n, "L") >= 0.5, r = valueOf(a.n, "R") >= 0.5;
        side = l === r ? "" : l ? ", left only" : ", right only";
      }
      list.append(i ? "; " : "", make("b", {}, `AU${a.n}`), ` ${a.name}${side} ${v.toFixed(2)} `, make("span", { class: "au" }, `(${a.muscle})`));
    });
  };

  // ---- a person's curves ----------------------------------------------------------------------------------------
  const load = (person) => {
    if (person.time) return person;
    const floats = new Float32Array(bytes(person.times).buffer);
    person.time = Array.from(floats);
    const all = bytes(person.values), n = person.points;
    person.curve = {};
    person.names.forEach((name, s) => {
      person.curve[name] = Array.from(all.subarray(s * n, (s + 1) * n), (v) => (v === UNKNOWN ? null : v / STEPS));
    });
    person.by = data.aus.map((_, i) => person.events.filter((e) => e[0] === i));
    person.inOrder = [...person.events].sort((a, b) => a[1] - b[1]);
    return person;
  };
  const nearest = (times, t) => {
    let low = 0, high = times.length - 1;
    while (high - low > 1) { const mid = (low + high) >> 1; if (times[mid] <= t) low = mid; else high = mid; }
    return t - times[low] <= times[high] - t ? low : high;
  };

  class Timeline {
    constructor(place, person, box) {
      this.person = load(person);
      this.box = box;
      this.first = person.time[0];
      this.last = Math.max(person.time[person.time.length - 1], this.first + 0.04);
      this.min = this.first; this.max = this.last;
      this.at = null; this.every = false; this.sides = false; this.plots = []; this.pointers = new Map();
      this.frame();
      place.replaceChildren(this.tools, this.rows, this.legend, this.list);
      this.build();
      new ResizeObserver(() => this.resize()).observe(this.rows);
    }

    frame() {
      const button = (text, label, act) => {
        const b = make("button", { type: "button", "aria-label": label, title: label }, text);
        b.addEventListener("click", act);
        return b;
      };
      const box = (text, key) => {
        const input = make("input", { type: "checkbox" });
        input.addEventListener("change", () => { this[key] = input.checked; this.build(); });
        return make("label", {}, input, text);
      };
      this.readout = make("span", { class: "readout", role: "status" });
      this.tools = make("div", { class: "tools" },
        button("−", "Zoom out", () => this.zoom(2)), button("+", "Zoom in", () => this.zoom(0.5)),
        button("◂", "Earlier", () => this.pan(-0.25)), button("▸", "Later", () => this.pan(0.25)),
        button("All", "Show the whole recording", () => this.range(this.first, this.last)),
        button("‹ event", "Previous event", () => this.jump(-1)), button("event ›", "Next event", () => this.jump(1)),
        this.readout, make("span", { class: "gap" }),
        box("all AUs", "every"), ...(data.aus.some((a) => a.sided) ? [box("left and right", "sides")] : []));
      this.rows = make("div", { class: "rows", tabindex: "0", role: "group", "aria-label":
        "Timeline. Plus and minus zoom, arrow keys move, Home shows everything, N and P go to the next and previous event." });
      this.now = make("div", { class: "now", hidden: true });
      this.pick = make("div", { class: "pick", hidden: true });
      const line = (name, text) => make("span", {}, make("i", { class: name }), text);
      this.legend = make("div", { class: "legend" });
      const help = make("span", { class: "help" });
      [["+", " "], ["−", " zoom  "], ["←", " "], ["→", " move  "], ["Home", " all  "], ["N", " "], ["P", " next and previous event; drag to zoom, Ctrl and wheel or two fingers likewise"]]
        .forEach(([key, text]) => help.append(make("kbd", {}, key), text));
      const coarse = this.person.stretch > 0 ? [make("span", {}, `Each pair of points is the lowest and highest value of ${this.person.stretch.toFixed(2)} s.`)] : [];
      const less = this.person.leftOut ? [make("span", {}, `The ${this.person.leftOut} shortest events are not drawn.`)] : [];
      this.legend.append(line("m", "probability"), line("ev", "event"), line("th", "threshold 0.5"),
        this.left = line("ml", "subject’s left"), this.right = line("mr", "subject’s right"), ...coarse, ...less, help);
      this.list = make("details", {}, make("summary", {}, `All ${this.person.events.length} events`));
      this.list.addEventListener("toggle", () => this.fill(), { once: true });
      this.rows.addEventListener("keydown", (e) => this.key(e));
      this.rows.addEventListener("pointerdown", (e) => this.down(e));
      this.rows.addEventListener("pointermove", (e) => this.move(e));
      for (const name of ["pointerup", "pointercancel"]) this.rows.addEventListener(name, (e) => this.up(e));
      this.rows.addEventListener("dblclick", () => this.range(this.first, this.last));
      this.rows.addEventListener("wheel", (e) => {
        if (!e.ctrlKey && !e.metaKey) return;
        e.preventDefault();
        this.zoom(e.deltaY > 0 ? 1.25 : 0.8, this.time(e.clientX));
      }, { passive: false });
    }

    fill() {
      const most = 500, ol = make("ol", { class: "events" });
      this.person.inOrder.slice(0, most).forEach(([i, onset, apex, offset, peak]) => {
        const a = data.aus[i], b = make("button", { type: "button", class: "link" }, clock(onset));
        b.addEventListener("click", () => this.show(apex));
        ol.append(make("li", {}, b, ` AU${a.n} ${a.name}, ${(offset - onset).toFixed(2)} s, peak ${peak.toFixed(2)}`));
      });
      this.list.append(ol);
      if (this.person.inOrder.length > most) this.list.append(make("p", { class: "note" }, `The first ${most}.`));
    }

    build() {
      this.plots.forEach((p) => p.destroy());
      this.plots = [];
      const shown = data.aus.map((a, i) => [a, i]).filter(([, i]) => this.every || this.person.by[i].length);
      const use = shown.length ? shown : data.aus.map((a, i) => [a, i]);
      this.left.hidden = this.right.hidden = !this.sides;
      const rows = use.map(([a, i]) => {
        const plot = make("div", { class: "plot" });
        const count = this.person.by[i].length;
        const label = make("div", { class: "label", title: `${a.name}: ${a.muscle}` }, make("b", {}, `AU${a.n}`), make("span", {}, a.name));
        return [make("div", { class: "row", role: "img", "aria-label": `AU${a.n} ${a.name}: ${count} event${count === 1 ? "" : "s"}` }, label, plot), plot, a, i];
      });
      const axis = make("div", { class: "plot" });
      this.rows.replaceChildren(...rows.map((r) => r[0]), make("div", { class: "row axis" }, make("div", { class: "label" }), axis), this.now, this.pick);
      const width = Math.max(120, axis.clientWidth);
      this.width = width;
      rows.forEach(([, place, a, i]) => this.plots.push(this.plot(place, a, i, width)));
      this.plots.push(this.axis(axis, width));
      this.mark();
    }

    plot(place, a, i, width) {
      const person = this.person, values = [person.time, person.curve[a.code]];
      const line = (stroke, dash, wide = 1.25) => ({ stroke, dash, width: wide, points: { show: person.time.length < 3 }, spanGaps: false });
      const series = [{}, line(colour("--blue"), undefined, this.sides && a.sided ? 0.75 : 1.25)];
      if (this.sides && a.sided) {
        values.push(person.curve[`${a.code}_L`], person.curve[`${a.code}_R`]);
        series.push(line(colour("--ink"), [2, 2]), line(colour("--orange"), [6, 3]));
      }
      const event = `rgba(${colour("--blue-rgb")},.18)`, soft = colour("--soft"), apexes = colour("--act");
      const behind = (u) => {
        const c = u.ctx, { top, height, left, width: wide } = u.bbox, px = devicePixelRatio;
        c.save();
        c.beginPath(); c.rect(left, top, wide, height); c.clip();
        for (const [, onset, apex, offset] of person.by[i]) {
          if (offset < this.min || onset > this.max) continue;
          const x0 = u.valToPos(onset, "x", true), x1 = Math.max(x0 + px, u.valToPos(offset, "x", true));
          c.fillStyle = event; c.fillRect(x0, top, x1 - x0, height);
          const x = u.valToPos(apex, "x", true);
          c.fillStyle = apexes; c.beginPath(); c.moveTo(x - 3 * px, top); c.lineTo(x + 3 * px, top); c.lineTo(x, top + 5 * px); c.fill();
        }
        const y = Math.round(u.valToPos(0.5, "y", true)) + 0.5;
        c.strokeStyle = soft; c.globalAlpha = 0.6; c.setLineDash([3 * px, 3 * px]); c.lineWidth = px;
        c.beginPath(); c.moveTo(left, y); c.lineTo(left + wide, y); c.stroke();
        c.restore();
      };
      return new uPlot({
        width, height: ROW, padding: [5, RIGHT, 4, 0], legend: { show: false }, cursor: { show: false }, select: { show: false },
        scales: { x: { time: false, min: this.min, max: this.max, auto: false }, y: { range: [-0.04, 1.04] } },
        axes: [{ show: false }, { size: AXIS, stroke: soft, font: "10px system-ui", gap: 3, grid: { show: false }, ticks: { show: false },
          splits: () => [0, 1], values: () => ["0", "1"] }],
        series, hooks: { drawClear: [behind] },
      }, values, place);
    }

    axis(place, width) {
      const soft = colour("--soft"), grid = colour("--line");
      return new uPlot({
        width, height: 34, padding: [0, RIGHT, 0, AXIS], legend: { show: false }, cursor: { show: false }, select: { show: false },
        scales: { x: { time: false, min: this.min, max: this.max, auto: false }, y: { range: [0, 1] } },
        axes: [{ stroke: soft, font: "11px system-ui", size: 30, ticks: { stroke: grid, size: 5 }, grid: { show: false }, space: 70,
          values: (u, splits) => { const fine = splits.length > 1 && splits[1] - splits[0] < 1; return splits.map((s) => this.tick(s, fine)); } }, { show: false }],
        series: [{}, { show: false }],
      }, [this.person.time, this.person.time.map(() => null)], place);
    }

    tick(s, fine) {
      if (this.last < 60) return `${fine ? s.toFixed(1) : s} s`;
      const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60, r = fine ? (s % 60).toFixed(1).padStart(4, "0") : String(Math.round(s % 60)).padStart(2, "0");
      return h ? `${h}:${String(m).padStart(2, "0")}:${r}` : `${m}:${r}`;
    }

    resize() {
      const plot = this.rows.querySelector(".axis .plot");
      const width = Math.max(120, plot.clientWidth);
      if (Math.abs(width - this.width) < 1) return;
      this.width = width;
      this.plots.forEach((p) => p.setSize({ width, height: p.height }));
      this.mark();
    }

    // Pixels of the rows' own box <-> seconds.
    span() { const x = this.width; const rows = this.rows.getBoundingClientRect(); const plot = this.rows.querySelector(".axis .plot").getBoundingClientRect();
      return [plot.left - rows.left + AXIS, plot.left - rows.left + x - RIGHT]; }
    time(clientX) { const [a, b] = this.span(); const x = clientX - this.rows.getBoundingClientRect().left;
      return this.min + Math.min(1, Math.max(0, (x - a) / (b - a))) * (this.max - this.min); }
    place(t) { const [a, b] = this.span(); return a + ((t - this.min) / (this.max - this.min)) * (b - a); }

    range(min, max) {
      const least = Math.min(this.last - this.first, Math.max(0.2, 6 * this.person.step));
      let span = Math.min(this.last - this.first, Math.max(least, max - min));
      let from = (min + max) / 2 - span / 2;
      from = Math.min(this.last - span, Math.max(this.first, from));
      this.min = from; this.max = from + span;
      this.rows.dataset.min = this.min.toFixed(3); this.rows.dataset.max = this.max.toFixed(3);
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.plots.forEach((p) => p.setScale("x", { min: this.min, max: this.max }));
        this.mark();
      });
    }
    zoom(factor, around) {
      const inside = this.at !== null && this.at >= this.min && this.at <= this.max;
      const t = around ?? (inside ? this.at : (this.min + this.max) / 2);
      this.range(t - (t - this.min) * factor, t + (this.max - t) * factor);
    }
    pan(share) { const d = (this.max - this.min) * share; this.range(this.min + d, this.max + d); }
    jump(way) {
      const apexes = this.person.inOrder.map((e) => e[2]).sort((a, b) => a - b);
      const at = this.at ?? (way > 0 ? -Infinity : Infinity);
      const next = way > 0 ? apexes.find((t) => t > at + 1e-6) : apexes.reverse().find((t) => t < at - 1e-6);
      if (next !== undefined) this.show(next);
    }
    show(t) {
      if (t < this.min || t > this.max) { const half = (this.max - this.min) / 2; this.range(t - half, t + half); }
      this.move_to(t);
    }

    move_to(t) {
      this.at = t;
      const person = this.person, i = nearest(person.time, t);
      const valueOf = (n, side) => {
        const a = data.aus.find((x) => x.n === n);
        const name = side && a.sided ? `${a.code}_${side}` : a.code;
        return person.curve[name][i];
      };
      act(this.box, valueOf, `at ${clock(t)}`);
      this.readout.textContent = clock(t);
      this.box.querySelectorAll(".moment").forEach((m) => m.setAttribute("aria-current", String(Math.abs(Number(m.dataset.time) - t) < 0.02)));
      const film = this.box.querySelector(".film[open] video");
      if (film && film.paused) film.currentTime = t;
      this.mark();
    }
    leave() { this.at = null; act(this.box, null, "share of the time"); this.readout.textContent = ""; this.mark(); }
    mark() {
      const shown = this.at !== null && this.at >= this.min && this.at <= this.max;
      this.now.hidden = !shown;
      if (shown) this.now.style.left = `${this.place(this.at)}px`;
    }

    key(e) {
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      const acts = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), "−": () => this.zoom(2),
        ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2), Home: () => this.range(this.first, this.last), 0: () => this.range(this.first, this.last),
        n: () => this.jump(1), N: () => this.jump(1), p: () => this.jump(-1), P: () => this.jump(-1), Escape: () => this.leave() };
      if (acts[e.key]) { e.preventDefault(); acts[e.key](); }
    }
    down(e) {
      if (e.button) return;
      this.pointers.set(e.pointerId, e.clientX);
      if (e.pointerType === "mouse") { this.from = e.clientX; this.rows.setPointerCapture(e.pointerId); }
      else this.touched = [e.clientX, this.min, this.max];
    }
    move(e) {
      if (!this.pointers.has(e.pointerId)) { if (e.pointerType === "mouse") this.move_to(this.time(e.clientX)); return; }
      const before = new Map(this.pointers);
      this.pointers.set(e.pointerId, e.clientX);
      if (e.pointerType === "mouse") {
        const [a, b] = this.span(), left = this.rows.getBoundingClientRect().left;
        const inside = (x) => Math.min(b, Math.max(a, x - left));
        const x0 = inside(Math.min(this.from, e.clientX)), x1 = inside(Math.max(this.from, e.clientX));
        this.pick.hidden = x1 - x0 < 4;
        this.pick.style.left = `${x0}px`; this.pick.style.width = `${x1 - x0}px`;
      } else if (this.pointers.size === 2) {
        const was = [...before.values()], is = [...this.pointers.values()];
        const wide = Math.abs(was[0] - was[1]), wider = Math.max(8, Math.abs(is[0] - is[1]));
        this.zoom(wide / wider, this.time((is[0] + is[1]) / 2));
      } else if (this.touched) {
        const [a, b] = this.span(), d = ((this.touched[0] - e.clientX) / (b - a)) * (this.touched[2] - this.touched[1]);
        this.range(this.touched[1] + d, this.touched[2] + d);
      }
    }
    up(e) {
      if (!this.pointers.delete(e.pointerId)) return;
      if (e.pointerType === "mouse") {
        if (!this.pick.hidden) this.range(this.time(Math.min(this.from, e.clientX)), this.time(Math.max(this.from, e.clientX)));
        else this.move_to(this.time(e.clientX));
        this.pick.hidden = true;
      } else if (this.touched && Math.abs(this.touched[0] - e.clientX) < 8) this.move_to(this.time(e.clientX));
      this.touched = null;
    }
  }

  // ---- pictures -------------------------------------------------------------------------------------------------
  document.querySelectorAll("[data-pictures]").forEach((place) => {
    const box = place.closest(".person");
    data.pictures.forEach((picture) => {
      const shown = data.aus.map((a, i) => [a, picture.values[i]]).filter(([, v]) => v >= 0.5).sort((x, y) => y[1] - x[1]);
      const words = shown.map(([a, v]) => `AU${a.n} ${v.toFixed(2)}`).join("  ") || "no AU present";
      const b = make("button", { type: "button" }, make("span", { class: "name" }, picture.label), make("span", { class: "aus" }, words));
      b.addEventListener("click", () => {
        place.querySelectorAll("button").forEach((other) => other.setAttribute("aria-current", String(other === b)));
        act(box, (n) => picture.values[data.aus.findIndex((a) => a.n === n)], picture.label);
      });
      place.append(b);
    });
  });

  // ---- whom we look at ------------------------------------------------------------------------------------------
  const people = [...document.querySelectorAll(".person")];
  const chooser = document.getElementById("person");
  const choose = (i) => {
    people.forEach((p, k) => { p.hidden = k !== i; });
    const place = people[i].querySelector("[data-timeline]");
    timeline = place ? place.timeline ?? (place.timeline = new Timeline(place, data.people[i], people[i])) : null;
    if (timeline) timeline.build();
  };
  if (chooser) {
    if (people.length === 1) chooser.parentElement.classList.add("single");
    chooser.addEventListener("change", () => choose(Number(chooser.value)));
    choose(0);
  }
  document.querySelectorAll("[data-time]").forEach((b) => b.addEventListener("click", () => {
    if (timeline) { timeline.show(Number(b.dataset.time)); }
  }));
  let before = null;
  // Paper is narrower than most windows: curves are drawn as wide as it bears, in light colours.
  window.addEventListener("beforeprint", () => { before = root.dataset.theme; root.classList.add("paper"); setTheme("light"); });
  window.addEventListener("afterprint", () => { root.classList.remove("paper"); if (before) setTheme(before); });
})();
