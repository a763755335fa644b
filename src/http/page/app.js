// The page: photos come in, each becomes a card, cards wait for their answers in one queue.

import { Key, classify, models } from "./api.js";
import { Card } from "./card.js";
import { showModels, chosenModel } from "./model.js";
import { Queue } from "./queue.js";
import { watchServer } from "./live.js";
import { visible } from "./text.js";

const $ = (id) => document.getElementById(id);
const results = $("results");
const queue = new Queue(run);

function say(text) {
  $("status").textContent = visible(text);
}

function add(files) {
  const photos = [...files];
  const cards = photos.map((file) => new Card(file, { again: (card) => queue.add(card), remove }));
  // The newest on top, those that came together in their order.
  results.prepend(...cards.map((card) => card.element));
  cards.forEach((card) => queue.add(card));
  if (cards.length > 0) {
    say(cards.length === 1 ? `${photos[0].name}: waiting` : `${cards.length} photos: waiting`);
  }
}

function remove(card) {
  queue.drop(card);
  const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
  card.close();
  (next?.querySelector(".remove") ?? $("files")).focus();
}

/** Sends a card's photo; the seconds to wait if the server has no room for it now. */
async function run(card, signal) {
  card.waiting("asking the server…");
  const answer = await classify(card.file, chosenModel(), signal);
  if (answer.retryAfter !== undefined) {
    card.waiting(`the server is busy: ${answer.detail}; trying again in ${answer.retryAfter} s`);
    return answer.retryAfter;
  }
  if (answer.code === "unauthorized") {
    askForKey();
  }
  if (answer.code) {
    card.failed(answer);
    say(`${card.file.name}: ${answer.title}`);
  } else {
    card.answered(answer);
    const { predictions, output_kind } = answer.json;
    const best = predictions[0];
    say(`${card.file.name}: ${best.label}, ${card.number(best.probability, output_kind)}`);
  }
  return undefined;
}

function askForKey() {
  $("key-field").hidden = false;
  $("key").focus();
}

async function loadModels() {
  const answer = await models();
  if (answer.code === "unauthorized") {
    $("key-field").hidden = false;
    $("can").textContent = "This server asks for an API key.";
  } else if (answer.retryAfter !== undefined) {
    $("can").textContent = visible(`${answer.title}: ${answer.detail}`);
    setTimeout(loadModels, answer.retryAfter * 1000);
  } else if (answer.code) {
    $("can").textContent = visible(`${answer.title}: ${answer.detail}`);
  } else {
    showModels(answer.json);
  }
}

for (const input of [$("files"), $("camera")]) {
  const take = () => {
    add(input.files);
    input.value = ""; // so that the same file can be chosen again
  };
  input.addEventListener("change", take);
  take(); // what was chosen before this script was there
}
$("key").addEventListener("change", (event) => {
  Key.set(event.target.value);
  loadModels();
});
for (const type of ["dragover", "dragenter"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) {
    $("drop").classList.remove("over");
  }
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const { files } = event.dataTransfer;
  files.length > 0 ? add(files) : say("no file was dropped: save the picture first, then drop its file");
});
document.addEventListener("paste", (event) => {
  const { files } = event.clipboardData;
  if (files.length > 0) {
    event.preventDefault();
    add(files);
  } else if (event.target.tagName !== "INPUT") {
    say("the clipboard holds no picture");
  }
});
for (const button of document.querySelectorAll("[data-sample]")) {
  button.disabled = false;
  button.addEventListener("click", async () => {
    const name = `${button.dataset.sample}.jpg`;
    const photo = await fetch(`page/${name}`).catch(() => undefined);
    photo?.ok ? add([new File([await photo.blob()], name)]) : say("the sample could not be fetched: is the server still there?");
  });
}

loadModels();
watchServer($("live"));
