// The models' cards, and two of them on one photo.

import { Bars, byRegion } from "./bars.js";
import { $, ask, make, tell } from "./dom.js";
import { drawCloseup, drawFaces } from "./overlay.js";

export class Models {
  constructor(catalogue) {
    this.catalogue = catalogue;
    $("cards").append(...catalogue.models.map(card));
    const others = catalogue.models.map((model) => model.name);
    $("compare-b").value = others.find((name) => name !== $("compare-a").value) ?? others[0];
    $("compare-choose").addEventListener("click", () => $("compare-file").click());
    $("compare-file").addEventListener("change", () => {
      this.file = $("compare-file").files[0] ?? this.file;
      this.#compare();
    });
    for (const id of ["compare-a", "compare-b"]) $(id).addEventListener("change", () => this.#compare());
  }

  async #compare() {
    if (!this.file) return;
    const run = (this.run = {});
    const result = $("compare-result");
    tell($("compare-notice"), "Looking …");
    try {
      const names = [$("compare-a").value, $("compare-b").value];
      const answers = [];
      for (const name of names) {
        const form = new FormData();
        form.append("file", this.file);
        const response = await ask(`/v1/detect?landmarks=true&model=${encodeURIComponent(name)}`, { method: "POST", body: form });
        if (response.status === 202) {
          ask(response.headers.get("Location"), { method: "DELETE" });
          throw new Error(`${this.file.name}: is a video; compare on a photo.`);
        }
        answers.push(await response.json());
      }
      if (run !== this.run) return;
      tell($("compare-notice"), answers[0].faces ? "" : "No face was found.");
      if (!answers[0].faces) return result.replaceChildren();
      if (this.url) URL.revokeObjectURL(this.url);
      this.url = URL.createObjectURL(this.file);
      const canvas = make("canvas", { "aria-hidden": "true" });
      const places = [make("div"), make("div")];
      const image = make("img", { src: this.url, alt: this.file.name });
      const closeup = make("canvas", { class: "closeup", width: 440, height: 440, "aria-hidden": "true" });
      const pair = make("div", { class: "pair" }, ...places.map((place, i) => make("div", {}, make("div", { class: "panel-head" }, make("h3", {}, names[i]), make("span", { class: "hint" }, `${(1000 * answers[i].seconds).toFixed(0)} ms`)), place)));
      result.replaceChildren(make("div", { class: "compare-body" }, make("div", {}, make("div", { class: "picture" }, image, canvas), closeup), pair));
      const [row] = answers[0].rows;
      const face = { id: 0, box: [row.x, row.y, row.width, row.height], landmarks: answers[0].landmarks[0] };
      drawFaces(canvas, answers[0].width, answers[0].height, [face], this.catalogue.contours);
      image.addEventListener("load", () => drawCloseup(closeup, image, face, answers[0].width, this.catalogue.contours));
      places.forEach((place, i) => new Bars(place, this.#model(names[i]).aus).show(answers[i].rows[0]));
    } catch (error) {
      if (run === this.run) tell($("compare-notice"), error.message, true);
    }
  }

  #model(name) {
    return this.catalogue.models.find((model) => model.name === name);
  }
}

function card(model) {
  const facts = { "Looks at": model.reads === "pixels" ? "the aligned face itself" : model.reads, "Trained on": model.trained_on, Licence: `${model.licence}, ${model.origin}`, Size: `${(model.size / 1e6).toFixed(1)} MB` };
  const measured = Object.entries(model.measured);
  const number = (value) => value.toPrecision(3).replace(/\.?0+$/, "");
  const row = ([what, m]) => make("tr", { title: m.command }, make("td", {}, what), make("td", {}, number(m.value)), make("td", {}, `${number(m.low)} – ${number(m.high)}`), make("td", {}, m.n.toLocaleString("en")));
  const head = () => make("thead", {}, make("tr", {}, ...["Measured", "value", "95 % interval", "n"].map((text) => make("th", { scope: "col" }, text))));
  const results = (some) => make("table", {}, head(), make("tbody", {}, ...some.map(row)));
  const headline = measured.filter(([what]) => /\bmean\b/.test(what) && !/version before/.test(what));
  return make("article", { class: "panel card", "aria-label": model.name },
    make("div", { class: "item-head" }, make("h2", {}, model.name), model.default ? make("span", { class: "badge" }, "default") : null),
    make("ul", { class: "chips", "aria-label": "Action Units" }, ...byRegion(model.aus).map((au) => make("li", { class: au.region, title: au.name }, au.column))),
    headline.length ? make("div", { class: "wide" }, results(headline)) : make("p", { class: "hint" }, "Nothing has been measured yet."),
    make("div", { class: "limits" }, make("h3", {}, "Limits"), make("div", {}, model.limits)),
    make("details", {}, make("summary", {}, "How it was made"), make("dl", { class: "facts" }, ...Object.entries(facts).flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]))),
    measured.length > headline.length ? make("details", {}, make("summary", {}, `All ${measured.length} measured results`), make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Measured results of ${model.name}` }, results(measured))) : null);
}
