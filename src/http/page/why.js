// Where the model saw a class: a picture over the photo, for any class of the answer, as strong as one likes.

import { overlay } from "./api.js";
import { hasNoFeatures } from "./model.js";
import { visible } from "./text.js";

export class Why {
  #element;
  #file;
  #model;
  #labels = new Map();
  /** Addresses of the pictures that are here, by class. */
  #pictures = new Map();
  #abort;
  #ended = false;

  /** `element` is the photo's card. */
  constructor(element, file) {
    this.#element = element;
    this.#file = file;
    this.#part(".why select").addEventListener("change", (event) => this.#show(event.target.value));
    this.#part(".strength input").addEventListener("input", () => this.#fade());
    this.#fade();
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }

  /** The classes of an answer can be shown, if the model can tell. */
  offer({ model, predictions }) {
    this.withdraw();
    if (this.#ended || hasNoFeatures(model)) {
      return;
    }
    this.#model = model;
    this.#labels = new Map(predictions.map(({ class_index, label }) => [String(class_index), visible(label)]));
    const options = [...this.#labels].map(([index, label]) => new Option(label, index));
    this.#part(".why select").replaceChildren(new Option("…", ""), ...options);
    this.#part(".why").hidden = false;
  }

  /** Nothing is shown until the next answer. */
  withdraw() {
    this.#part(".why").hidden = true;
    this.#hide();
    this.#pictures.forEach((url) => URL.revokeObjectURL(url));
    this.#pictures.clear();
  }

  /** Nothing is ever shown again: the card goes, or the browser does not show the photo. */
  end() {
    this.#ended = true;
    this.withdraw();
  }

  #hide() {
    this.#abort?.abort();
    this.#part(".heat").hidden = true;
    this.#part(".strength").hidden = true;
    this.#part(".why-state").textContent = "";
  }

  #fade() {
    this.#part(".heat").style.opacity = this.#part(".strength input").value / 100;
  }

  async #show(classIndex) {
    this.#hide();
    if (classIndex === "") {
      return;
    }
    const state = this.#part(".why-state");
    if (!this.#pictures.has(classIndex)) {
      state.textContent = "asking the server…";
      this.#abort = new AbortController();
      const { signal } = this.#abort;
      try {
        const answer = await overlay(this.#file, this.#model, classIndex, signal);
        if (signal.aborted) {
          return;
        }
        if (!answer.picture) {
          const again = answer.retryAfter === undefined ? "" : `; try again in ${answer.retryAfter} s`;
          const said = [`${answer.title}: ${answer.detail}${again}.`, answer.hint];
          state.textContent = visible(said.filter(Boolean).join(" "));
          this.#part(".why select").value = "";
          return;
        }
        this.#pictures.set(classIndex, URL.createObjectURL(answer.picture));
      } catch (error) {
        if (!signal.aborted) {
          state.textContent = `The page failed: ${error}`;
        }
        return;
      }
    }
    const heat = this.#part(".heat");
    heat.src = this.#pictures.get(classIndex);
    heat.hidden = false;
    this.#part(".strength").hidden = false;
    state.textContent = `Yellow is where most speaks for ${this.#labels.get(classIndex)}.`;
  }
}
