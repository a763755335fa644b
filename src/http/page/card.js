// One photo with its answer. Everything that comes from a file or the server is set as text, never as HTML.

import { Key, pathOf } from "./api.js";
import { chosenModel } from "./model.js";
import { shellWord, visible, visibleLines } from "./text.js";
import { Why } from "./why.js";

const TEMPLATE = document.getElementById("result");

/** The stages of the header Server-Timing, in their order. */
const STAGES = { read: "upload", decode: "decode", preprocess: "resize", queue: "wait", infer: "network" };

export class Card {
  /** `actions` has `again(card)` and `remove(card)`. */
  constructor(file, actions) {
    this.file = file;
    this.element = TEMPLATE.content.firstElementChild.cloneNode(true);
    this.part("h2").textContent = visible(file.name);
    this.part(".remove").addEventListener("click", () => actions.remove(this));
    this.part(".remove").setAttribute("aria-label", `Remove ${visible(file.name)}`);
    this.part(".again").addEventListener("click", () => actions.again(this));
    for (const button of this.element.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", () => this.copy(button));
    }
    this.why = new Why(this.element, file);
    this.preview();
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  preview() {
    const image = this.part(".preview");
    this.url = URL.createObjectURL(this.file);
    image.addEventListener("error", () => {
      // A format that this browser does not show; the server may know it.
      image.hidden = true;
      this.part(".no-preview").hidden = false;
      this.why.end();
    });
    image.src = this.url;
  }

  close() {
    URL.revokeObjectURL(this.url);
    this.why.end();
    this.element.remove();
  }

  waiting(text) {
    this.state(text, false);
    this.part(".again").hidden = true;
  }

  failed({ title, detail, hint, request_id }) {
    const id = request_id ? ` (request ${request_id})` : "";
    this.state([`${title}: ${detail}${id}.`, hint].filter(Boolean).join(" "), true);
    this.part(".again").hidden = false;
    this.clear();
  }

  answered({ json, text, timing }) {
    this.state("", false);
    const { image, model } = json;
    this.part(".preview").alt = `The photo, which ${model} takes for ${visible(json.predictions[0].label)}`;
    this.part(".meta").textContent = `${image.format.toUpperCase()}, ${image.width} × ${image.height}, by ${model}`;
    this.part(".classes").replaceChildren(...json.predictions.map((p) => this.row(p, json.output_kind)));
    this.why.offer(json);
    this.timing(timing);
    this.part(".json").textContent = visibleLines(JSON.stringify(JSON.parse(text), null, 2));
    this.part(".curl").textContent = curl(this.file.name);
    this.part(".more").hidden = false;
  }

  clear() {
    this.part(".classes").replaceChildren();
    this.why.withdraw();
    this.part(".timing").hidden = true;
    this.part(".more").hidden = true;
    this.part(".meta").textContent = "";
  }

  state(text, isProblem) {
    const state = this.part(".state");
    state.textContent = visible(text);
    state.classList.toggle("problem", isProblem);
  }

  /** How a class's number is shown: as a share, or as it is where the network has a scale of its own. */
  number(probability, kind) {
    if (kind === "scores") {
      return String(Number(probability.toPrecision(5)));
    }
    return `${(probability * 100).toFixed(probability < 0.0995 ? 2 : 1)} %`;
  }

  row({ label, synset, probability }, kind) {
    const row = document.createElement("li");
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.setAttribute("aria-hidden", "true");
    // Scores of a network's own need not be between 0 and 1.
    bar.style.width = `${Math.min(Math.max(probability, 0), 1) * 100}%`;
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = visible(label);
    name.title = visible(synset);
    const number = document.createElement("span");
    number.textContent = this.number(probability, kind);
    row.append(bar, name, number);
    return row;
  }

  /** The header's stages one after the other, as long as they took. */
  timing(header) {
    const stages = header.split(",").flatMap((entry) => {
      const [, name, ms] = /^\s*([\w-]+);dur=([\d.]+)/.exec(entry) ?? [];
      return name in STAGES ? [{ name: STAGES[name], ms: Number(ms) }] : [];
    });
    const total = stages.reduce((sum, stage) => sum + stage.ms, 0);
    this.part(".timing").hidden = total === 0;
    let before = 0;
    const rows = stages.map(({ name, ms }) => {
      const row = document.createElement("li");
      const [label, track, number] = ["", "track", "ms"].map((className) => {
        const part = document.createElement("span");
        part.className = className;
        return part;
      });
      label.textContent = name;
      number.textContent = `${ms.toFixed(1)} ms`;
      const part = document.createElement("span");
      part.className = "part";
      part.style.left = `${(before / total) * 100}%`;
      part.style.width = `${(ms / total) * 100}%`;
      track.setAttribute("aria-hidden", "true");
      track.append(part);
      row.append(label, track, number);
      before += ms;
      return row;
    });
    this.part(".timing ol").replaceChildren(...rows);
  }

  async copy(button) {
    const source = this.part(`.${button.dataset.copy}`);
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // Without TLS a browser gives no clipboard: mark the text, so that a key press copies it.
      getSelection().selectAllChildren(source);
      button.textContent = "Marked: press Ctrl+C";
    }
    setTimeout(() => (button.textContent = label), 2000);
  }
}

/** The command that asks the same. */
function curl(name) {
  const key = Key.value ? ' -H "X-API-Key: $RESNET_API_KEY"' : "";
  // curl takes a name that begins with a minus for an option.
  const file = name.startsWith("-") ? `./${name}` : name;
  return `curl${key} -T ${shellWord(file)} ${shellWord(new URL(pathOf(chosenModel()), document.baseURI).href)}`;
}
