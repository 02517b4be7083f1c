// AU bars, grouped by the part of the face where they show.

import { make } from "./dom.js";

const ORDER = ["brow", "eye", "cheek", "nose", "mouth", "chin", "jaw"];
const TITLES = { brow: "Brows", eye: "Eyes", cheek: "Cheeks", nose: "Nose", mouth: "Mouth", chin: "Chin", jaw: "Jaw" };

export const byRegion = (aus) => ORDER.flatMap((region) => aus.filter((au) => au.region === region));

export class Bars {
  constructor(place, aus) {
    this.rows = aus.map((au) => this.#row(au));
    const groups = ORDER.map((region) => {
      const rows = this.rows.filter((row) => row.au.region === region);
      return rows.length ? make("section", { class: `group ${region}`, "aria-label": TITLES[region] }, make("h3", {}, TITLES[region]), ...rows.map((row) => row.element)) : null;
    });
    place.replaceChildren(...groups.filter(Boolean));
  }

  #row(au) {
    const fill = make("div", { class: "fill" });
    const sides = au.sided ? { L: make("div", { class: "side", title: "the subject’s left" }), R: make("div", { class: "side", title: "the subject’s right" }) } : {};
    const value = make("span", { class: "value" });
    const track = make("div", { class: "track", role: "meter", "aria-label": `${au.column} ${au.name}`, "aria-valuemin": 0, "aria-valuemax": 1 }, fill, ...Object.values(sides));
    const element = make("div", { class: "au", "data-au": au.column, title: `${au.column} ${au.name} (${au.muscle})` },
      make("span", { class: "code" }, au.column), make("span", { class: "name" }, au.name), track, value);
    return { au, element, fill, track, value, sides };
  }

  // values: by column name; null where there is no face
  show(values) {
    for (const { au, element, fill, track, value, sides } of this.rows) {
      const p = values?.[au.column] ?? null;
      fill.hidden = p === null;
      fill.style.width = `${100 * (p ?? 0)}%`;
      element.classList.toggle("on", p !== null && p >= 0.5);
      value.textContent = p === null ? "–" : p.toFixed(2);
      track.setAttribute("aria-valuenow", p === null ? 0 : p.toFixed(2));
      const intensity = values?.[`${au.column}_i`];
      element.title = `${au.column} ${au.name} (${au.muscle})` + (intensity == null ? "" : `, intensity ${intensity.toFixed(1)} of 5`);
      for (const [side, mark] of Object.entries(sides)) {
        const at = values?.[`${au.column}_${side}`];
        mark.hidden = at == null || p < 0.5 || Math.abs(values[`${au.column}_L`] - values[`${au.column}_R`]) < 0.2;
        if (!mark.hidden) mark.style.left = `${100 * at}%`;
      }
    }
  }
}
