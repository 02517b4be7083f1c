// Tabs, and what the server says about itself.

import { Analyse } from "./analyse.js";
import { $, ask, isLocal, make, tell } from "./dom.js";
import { Live } from "./live.js";
import { Models } from "./models.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab, focus = false) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  history.replaceState(null, "", `#/${tab.getAttribute("aria-controls")}`);
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(tabs[(to + tabs.length) % tabs.length], true);
  });
});
select(tabs.find((tab) => `#/${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0]);

// Seen from another machine, "this machine" would be the wrong one.
if (!isLocal) for (const element of document.querySelectorAll("[data-remote]")) element.textContent = element.dataset.remote;

try {
  const catalogue = await (await ask("/v1/models")).json();
  for (const id of ["live-model", "analyse-model", "compare-a", "compare-b"]) {
    $(id).append(...catalogue.models.map((model) => make("option", { value: model.name }, model.name)));
    $(id).value = catalogue.models.find((model) => model.default).name;
  }
  $("version").textContent = `OpenAU ${catalogue.version}`;
  document.querySelector(".logout").hidden = !catalogue.login;
  new Live(catalogue);
  new Analyse(catalogue);
  new Models(catalogue);
  document.body.dataset.ready = "yes";
} catch (error) {
  const notice = make("p", { class: "notice", role: "alert" });
  $("main").prepend(notice);
  tell(notice, error.message, true);
}
