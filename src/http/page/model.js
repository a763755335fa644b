// The picker of models, and what there is to know of the one that is chosen.

import { model } from "./api.js";
import { visible } from "./text.js";

const $ = (id) => document.getElementById(id);
const picker = $("model");
let served = [];
/** Classes by model, once somebody has looked for one. */
const classes = new Map();

/** Name of the model that photos go to; empty for the server's default. */
export function chosenModel() {
  return served.length > 1 ? picker.value : "";
}

/** Whether there is nothing to ask a model for but its classes. Of one that came later nothing is known, and it is asked. */
export function hasNoFeatures(name) {
  const known = served.find((model) => model.name === name);
  return known !== undefined && known.features === undefined;
}

/** Shows what `/models` says. */
export function showModels({ default: first, models }) {
  const before = picker.value;
  served = models;
  picker.replaceChildren(
    ...models.map(({ name }) => {
      const option = document.createElement("option");
      option.textContent = name;
      option.value = name;
      return option;
    }),
  );
  picker.value = models.some(({ name }) => name === before) ? before : first;
  picker.disabled = models.length < 2;
  showCard();
}

function showCard() {
  const { name, input, output, preprocess, precision, instructions, runtime, license, sha256, bytes } = served.find(
    (model) => model.name === picker.value,
  );
  $("can").textContent =
    `${name} answers with one of ${output.classes} classes, whatever the photo shows: ` +
    "what is not among them, people's names and places for example, gets the class that looks most like it.";
  const side = input.shape.slice(-2).join(" × ");
  const rows = {
    Classes: output.classes,
    Input: `${side} pixels, ${preprocess.interpolation}`,
    Precision: `${precision} (${instructions})`,
    Runtime: runtime,
    Size: `${(bytes / 1e6).toFixed(1)} MB`,
    Licence: license ?? "not known",
    "SHA-256": sha256,
  };
  const cells = Object.entries(rows).flatMap(([term, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = term;
    dd.textContent = value;
    return [dt, dd];
  });
  $("card").querySelector("dl").replaceChildren(...cells);
  find();
}

async function find() {
  const words = $("find").value.trim().toLowerCase();
  const name = picker.value;
  if (words === "") {
    $("found").textContent = "";
    return;
  }
  if (!classes.has(name)) {
    const answer = await model(name);
    if (answer.code) {
      $("found").textContent = visible(`${answer.title}: ${answer.detail}`);
      return;
    }
    classes.set(name, answer.json.classes);
  }
  const hits = classes.get(name).filter(({ synset }) => synset.toLowerCase().includes(words));
  const some = hits.slice(0, 8).map(({ label }) => visible(label));
  const more = hits.length > some.length ? ` and ${hits.length - some.length} more` : "";
  // Another letter may have been typed meanwhile.
  if ($("find").value.trim().toLowerCase() === words) {
    $("found").textContent = hits.length === 0 ? "no class has that in its name" : some.join(", ") + more;
  }
}

picker.addEventListener("change", showCard);
$("find").addEventListener("input", find);
