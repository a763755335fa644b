// The page in a real browser, against the real server: node check.mjs BINARY FIXTURES [FOLDER FOR SCREENSHOTS]
//
// Started by `run`. Each case says what a person does and sees; after each, the browser must have neither an error nor
// a breach of the page's policy to report.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [binary, fixtures, screenshots] = process.argv.slice(2);
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const photo = (name) => path.join(fixtures, "photos", `${name}.png`);

/** A server of its own on a free port. */
async function serve(args = [], env = {}) {
  const server = spawn(binary, ["serve", "--port", "0", ...args], {
    env: { ...process.env, RESNET_LOG_FORMAT: "json", ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const log = [];
  for await (const line of createInterface({ input: server.stderr })) {
    log.push(line);
    const address = /ready; try: .*(http:\/\/[\d.]+:\d+)\//.exec(line)?.[1];
    if (address) {
      server.stderr.resume();
      return { url: address, stop: () => new Promise((done) => server.once("exit", done) && server.kill("SIGTERM")) };
    }
  }
  throw new Error(`the server did not start:\n${log.join("\n")}`);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
});

let failed = 0;

// The scripts begin after the page's first picture, and the samples' buttons work from then on.
async function started(page) {
  await page.waitForFunction(() => !document.querySelector("[data-sample]:disabled"));
}

/** Runs a case on a page of its own; `expected` are the errors that the browser reports of answers that are refusals. */
async function check(name, server, options, act) {
  const context = await browser.newContext(options.context ?? {});
  const page = await context.newPage();
  const reports = [];
  page.on("console", (message) => message.type() === "error" && reports.push(message.text()));
  page.on("pageerror", (error) => reports.push(String(error)));
  page.on("dialog", (dialog) => reports.push(`a dialog: ${dialog.message()}`) && dialog.dismiss());
  page.setDefaultTimeout(60_000);
  try {
    await options.before?.(page);
    await page.goto(server.url, { waitUntil: "load" });
    await started(page);
    await act(page);
    const unexpected = reports.filter((text) => !(options.expected ?? []).some((pattern) => pattern.test(text)));
    assert.deepEqual(unexpected, []);
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n${error.stack}\n${reports.join("\n")}`);
    await shot(page, `failed ${name}`);
  }
  await context.close();
}

async function shot(page, name, options = {}) {
  if (screenshots) {
    await mkdir(screenshots, { recursive: true });
    await page.screenshot({ path: path.join(screenshots, `${name.replaceAll(/\W+/g, "-")}.png`), fullPage: true, ...options });
  }
}

/** The cards, the newest first, once this many have their classes. */
async function answered(page, count) {
  await page.waitForFunction((n) => document.querySelectorAll("article .classes li:first-child").length === n, count);
  return page.$$eval("article", (cards) =>
    cards.map((card) => ({
      name: card.querySelector("h2").textContent,
      classes: [...card.querySelectorAll(".classes .name")].map((e) => e.textContent),
      stages: card.querySelectorAll(".timing li").length,
      curl: card.querySelector(".curl").textContent,
    })),
  );
}

/** Puts files of these names and contents into a DataTransfer and fires an event with it. */
async function transfer(page, type, files) {
  const contents = await Promise.all(files.map(async (file) => [path.basename(file), (await readFile(file)).toString("base64")]));
  await page.evaluate(
    ([type, contents]) => {
      const data = new DataTransfer();
      for (const [name, base64] of contents) {
        data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
      }
      const event =
        type === "paste"
          ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
          : new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    },
    [type, contents],
  );
}

/** Serious findings of axe-core. */
async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => axe.run());
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(" ")}`), []);
}

const server = await serve();
const REFUSED = [/status of (4\d\d|503)/];

await check("first look", server, {}, async (page) => {
  await page.waitForFunction(() => document.getElementById("can").textContent.includes("1000 classes"));
  await page.waitForFunction(() => !document.getElementById("live").hidden);
  assert.match(await page.textContent("#live"), /images\/s · \d+ of 256 places taken · .* · \d+ refused or failed/);
  await axe(page);
  await shot(page, "first look");
});

await check("a photo that is chosen", server, {}, async (page) => {
  await page.setInputFiles("#files", photo("espresso"));
  const [card] = await answered(page, 1);
  assert.equal(card.classes[0], "espresso");
  assert.equal(card.classes.length, 5);
  assert.equal(card.stages, 5);
  assert.ok(!(await page.isVisible("article .again")) && !(await page.isVisible("#key-field")));
  assert.match(card.curl, /^curl -T 'espresso\.png' 'http:\/\/127\.0\.0\.1:\d+\/classify'$/);
  assert.match(await page.textContent("article .meta"), /PNG, 299 × 299, by efficientnet-lite0/);
  assert.match(await page.textContent("#status"), /espresso\.png: espresso, \d/);
  await page.click("article summary");
  assert.match(await page.textContent("article .json"), /"output_kind": "logits"/);
  await axe(page);
  await shot(page, "a photo");
});

/** How opaque the heat map over a card's photo is at a place of it, 0 to 255; both measured from 0 to 1. */
async function heatAt(page, x, y) {
  await page.waitForFunction(() => {
    const heat = document.querySelector("article .heat");
    return !heat.hidden && heat.complete && heat.naturalWidth > 0;
  });
  return page.evaluate(([x, y]) => {
    const heat = document.querySelector("article .heat");
    const canvas = new OffscreenCanvas(heat.naturalWidth, heat.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(heat, 0, 0);
    return context.getImageData(Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data[3];
  }, [x, y]);
}

await check("why it is what it is", server, {}, async (page) => {
  await page.setInputFiles("#files", photo("trolleybus"));
  const [card] = await answered(page, 1);
  assert.ok(!(await page.isVisible("article .heat")) && !(await page.isVisible("article .strength")));
  const select = page.locator("article .why select");
  assert.deepEqual(await select.locator("option").allTextContents(), ["…", ...card.classes]);
  await select.selectOption({ label: card.classes[0] });
  // In the middle is the bus; the corner lies outside of what the network sees.
  assert.ok((await heatAt(page, 0.5, 0.55)) > 60, "the bus is hot");
  assert.equal(await heatAt(page, 0.01, 0.01), 0);
  assert.equal(await page.textContent("article .why-state"), "Yellow is where most speaks for trolleybus.");
  const boxes = await page.$$eval("article .photo img", (images) =>
    images.map((image) => [...Object.values(image.getBoundingClientRect().toJSON()), image.naturalWidth, image.naturalHeight]),
  );
  assert.deepEqual(boxes[0], boxes[1]);
  await axe(page);
  await shot(page, "heat map");
  const first = await page.getAttribute("article .heat", "src");
  // The slider by keyboard.
  await page.focus("article .strength input");
  await page.keyboard.press("Home");
  assert.equal(await page.$eval("article .heat", (heat) => heat.style.opacity), "0");
  await page.keyboard.press("End");
  assert.equal(await page.$eval("article .heat", (heat) => heat.style.opacity), "1");
  await select.selectOption({ label: card.classes[4] });
  await page.waitForFunction((first) => document.querySelector("article .heat").src !== first, first);
  await heatAt(page, 0.5, 0.5);
  assert.match(await page.textContent("article .why-state"), new RegExp(card.classes[4]));
  // A class that was shown already is not asked for again.
  let asked = 0;
  page.on("request", (request) => (asked += request.url().includes("explain_image")));
  await select.selectOption({ label: card.classes[0] });
  await heatAt(page, 0.5, 0.5);
  assert.equal(await page.getAttribute("article .heat", "src"), first);
  await select.selectOption("");
  assert.ok(!(await page.isVisible("article .heat")));
  assert.equal(asked, 0);
});

await check("a model that has no features is not asked why", server, {
  before: (page) =>
    page.route("**/models", async (route) => {
      const response = await route.fetch();
      const served = await response.json();
      served.models.forEach((model) => delete model.features);
      return route.fulfill({ response, json: served });
    }),
}, async (page) => {
  await page.click("[data-sample=espresso]");
  await answered(page, 1);
  assert.ok(!(await page.isVisible("article .why")));
});

await check("a model that cannot tell why", server, {
  expected: REFUSED,
  before: (page) =>
    page.route("**/classify?explain_image*", (route) => {
      const problem = { title: "The model has no such features", code: "no_features", detail: "model \"<b>x</b>\" has no explanation" };
      return route.fulfill({ status: 422, headers: { "content-type": "application/problem+json" }, body: JSON.stringify(problem) });
    }),
}, async (page) => {
  await page.click("[data-sample=espresso]");
  await answered(page, 1);
  await page.selectOption("article .why select", { index: 1 });
  await page.waitForFunction(() => /no such features: model "<b>x<\/b>" has no explanation\./.test(document.querySelector(".why-state").textContent));
  assert.ok(!(await page.isVisible("article .heat")));
});

await check("several photos, in their order, above those before", server, {}, async (page) => {
  await page.setInputFiles("#files", photo("plate"));
  await answered(page, 1);
  await page.setInputFiles("#files", ["espresso", "orange", "trolleybus"].map(photo));
  const cards = await answered(page, 4);
  assert.deepEqual(cards.map((card) => card.name), ["espresso.png", "orange.png", "trolleybus.png", "plate.png"]);
  assert.deepEqual(cards.slice(0, 3).map((card) => card.classes[0]), ["espresso", "orange", "trolleybus"]);
  await shot(page, "several photos");
  await page.click("article:nth-child(2) .remove");
  assert.equal((await answered(page, 3)).length, 3);
});

const scores = await serve(["--model", `scores=${path.join(fixtures, "exporters/sigmoid.onnx")}`]);
await check("numbers of a scale of their own are no shares", scores, {}, async (page) => {
  await page.setInputFiles("#files", photo("plate"));
  await answered(page, 1);
  const numbers = await page.$$eval(".classes li span:last-child", (all) => all.map((one) => one.textContent));
  assert.ok(numbers.length > 1 && numbers.every((text) => /^0\.\d+$/.test(text)), numbers.join(" "));
  assert.match(await page.textContent("#status"), /: .*, 0\.\d+$/);
});
await scores.stop();

await check("photos that are dropped", server, {}, async (page) => {
  await transfer(page, "dragenter", []);
  assert.ok(await page.$("#drop.over"));
  await transfer(page, "drop", ["espresso", "orange"].map(photo));
  assert.equal(await page.$("#drop.over"), null);
  assert.deepEqual((await answered(page, 2)).map((card) => card.classes[0]), ["espresso", "orange"]);
  await transfer(page, "drop", []);
  assert.match(await page.textContent("#status"), /no file was dropped/);
});

await check("a photo that is pasted", server, {}, async (page) => {
  await transfer(page, "paste", [photo("trolleybus")]);
  assert.equal((await answered(page, 1))[0].classes[0], "trolleybus");
  await transfer(page, "paste", []);
  assert.match(await page.textContent("#status"), /holds no picture/);
});

await check("the keyboard alone", server, {}, async (page) => {
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.dataset.sample || document.activeElement.className || document.activeElement.tagName);
  const seen = [];
  for (let i = 0; i < 12 && seen.at(-1) !== "orange"; i += 1) {
    await page.keyboard.press("Tab");
    seen.push(await focused());
  }
  assert.deepEqual(seen.slice(0, 2), ["skip", "files"]);
  assert.equal(seen.at(-1), "orange");
  await page.keyboard.press("Enter");
  assert.equal((await answered(page, 1))[0].classes[0], "orange");
  while ((await focused()) !== "remove") {
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  assert.equal((await answered(page, 0)).length, 0);
  assert.equal(await focused(), "files");
});

await check("a file that is no photo, under a name that is HTML", server, { expected: REFUSED }, async (page) => {
  const name = "<img src=x onerror=alert(1)>.jpg";
  await page.setInputFiles("#files", { name, mimeType: "image/jpeg", buffer: Buffer.from("no photo at all") });
  await page.waitForSelector("article .state.problem");
  assert.equal(await page.textContent("article h2"), name);
  assert.match(await page.textContent("article .state"), /Not an accepted image format: .* Save it as JPEG or PNG\./);
  assert.ok(await page.isVisible("article .again"));
  await axe(page);
  await shot(page, "a problem");
});

await check("labels that are HTML are shown as text", server, {
  before: (page) =>
    page.route("**/classify", async (route) => {
      const answer = await route.fetch();
      const json = await answer.json();
      json.predictions[0].label = "<img src=x onerror=alert(1)>";
      await route.fulfill({ response: answer, json });
    }),
}, async (page) => {
  await page.click("[data-sample=espresso]");
  assert.equal((await answered(page, 1))[0].classes[0], "<img src=x onerror=alert(1)>");
});

const TURNED = "photo\u202egpj.\u2066exe";
const TURNED_SHOWN = "photo\\u202egpj.\\u2066exe";

await check("names that turn the direction of writing are shown as they are", server, {
  before: (page) =>
    page.route("**/classify", async (route) => {
      const answer = await route.fetch();
      const json = await answer.json();
      Object.assign(json.predictions[0], { label: TURNED, synset: TURNED });
      await route.fulfill({ response: answer, json });
    }),
}, async (page) => {
  const buffer = await readFile(photo("espresso"));
  await page.setInputFiles("#files", { name: `it's ${TURNED}.png`, mimeType: "image/png", buffer });
  const [card] = await answered(page, 1);
  assert.equal(card.name, `it's ${TURNED_SHOWN}.png`);
  assert.equal(card.classes[0], TURNED_SHOWN);
  assert.match(card.curl, /^curl -T \$'it\\'s photo\\342\\200\\256gpj\.\\342\\201\\246exe\.png' 'http/);
  assert.ok((await page.textContent("#status")).startsWith(`it's ${TURNED_SHOWN}.png: ${TURNED_SHOWN}, `));
  // The JSON means the same as before.
  assert.equal(JSON.parse(await page.textContent("article .json")).predictions[0].label, TURNED);
  await page.selectOption("article .why select", { label: TURNED_SHOWN });
  await heatAt(page, 0.5, 0.5);
  const whole = await page.evaluate(() => document.documentElement.outerHTML);
  assert.doesNotMatch(whole, /[\u202a-\u202e\u2066-\u2069]/);
});

await check("a server without room: the page waits as long as it says", server, {
  expected: REFUSED,
  before: async (page) => {
    let refusals = 2;
    await page.route("**/classify", (route) => {
      if (refusals === 0) {
        return route.continue();
      }
      refusals -= 1;
      const problem = { title: "Overloaded", code: "overloaded", detail: "the wait would be 3000 ms", estimated_wait_ms: 3000 };
      return route.fulfill({ status: 503, headers: { "retry-after": "1", "content-type": "application/problem+json" }, body: JSON.stringify(problem) });
    });
  },
}, async (page) => {
  await page.click("[data-sample=espresso]");
  await page.waitForFunction(() => /the server is busy: .*; trying again in 1 s/.test(document.querySelector("article .state")?.textContent));
  await shot(page, "busy");
  assert.equal((await answered(page, 1))[0].classes[0], "espresso");
});

await check("another model, and what it can name", await serve(["--model", "efficientnet-lite0", "--model", "resnet18-tiny"]), {}, async (page) => {
  await page.waitForFunction(() => document.getElementById("model").options.length === 2);
  await page.selectOption("#model", "resnet18-tiny");
  assert.match(await page.textContent("#can"), /resnet18-tiny answers with one of 200 classes/);
  await page.click("#card summary");
  await page.fill("#find", "espresso");
  await page.waitForFunction(() => document.getElementById("found").textContent === "espresso");
  await page.fill("#find", "unicorn");
  await page.waitForFunction(() => document.getElementById("found").textContent.includes("no class"));
  await page.setInputFiles("#files", photo("espresso"));
  const [card] = await answered(page, 1);
  assert.match(card.curl, /\/models\/resnet18-tiny\/classify'$/);
  await shot(page, "another model");
});

await check("a key that is wrong, then right", await serve([], { RESNET_API_KEYS: "me:0123456789abcdef0123" }), { expected: REFUSED }, async (page) => {
  await page.waitForSelector("#key", { state: "visible" });
  await page.fill("#key", "wrong");
  await page.keyboard.press("Tab");
  await page.setInputFiles("#files", photo("espresso"));
  await page.waitForFunction(() => /Unauthorized: .* Enter a key above/.test(document.querySelector("article .state")?.textContent));
  await shot(page, "a wrong key");
  await page.fill("#key", "0123456789abcdef0123");
  await page.keyboard.press("Tab");
  await page.waitForFunction(() => document.getElementById("can").textContent.includes("1000 classes"));
  await page.click("article .again");
  const [card] = await answered(page, 1);
  assert.equal(card.classes[0], "espresso");
  assert.match(card.curl, /^curl -H "X-API-Key: \$RESNET_API_KEY" -T /);
});

const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
await check("a phone, in the dark", server, { context: { ...phone, colorScheme: "dark" } }, async (page) => {
  assert.ok(await page.isVisible("label[for=camera]"));
  assert.ok(!(await page.isVisible("#key-field")));
  await page.tap("[data-sample=trolleybus]");
  await answered(page, 1);
  const [width, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width <= shown, `${width} pixels wide on ${shown}`);
  await axe(page);
  await shot(page, "phone dark");
});

await check("what the server's routes take and answer, at /docs", server, { context: phone }, async (page) => {
  await page.goto(`${server.url}/docs`);
  await page.waitForFunction(() => /^\d+ of \d+$/.test(document.getElementById("shown").textContent));
  const api = await (await fetch(`${server.url}/openapi.json`)).json();
  const count = Object.values(api.paths).flatMap((methods) => Object.keys(methods)).length;
  assert.equal(await page.locator("#operations details").count(), count);
  await page.fill("#filter", "image_truncated");
  const shown = await page.locator("#operations details:visible").count();
  assert.ok(shown > 0 && shown < count, `${shown} of ${count}`);
  await page.click("#classify summary");
  const text = await page.textContent("#classify");
  for (const part of ["top_k", "in query", "multipart/form-data", "413", "too_many_images", "503"]) {
    assert.ok(text.includes(part), part);
  }
  await page.click("#classify a[href='#schema-Classified']");
  assert.ok(await page.isVisible("#schema-Classified"));
  const [width, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width <= window, `${width} pixels wide on ${window}`);
  await axe(page);
  await shot(page, "docs");
});

const mortal = await serve();
await check("a server that has gone", mortal, { expected: [/ERR_/] }, async (page) => {
  await page.waitForFunction(() => document.getElementById("can").textContent.includes("1000 classes"));
  await mortal.stop();
  await page.setInputFiles("#files", photo("espresso"));
  await page.waitForFunction(() => /cannot be reached/.test(document.querySelector("article .state")?.textContent));
  await page.waitForFunction(() => document.getElementById("live").textContent === "The server does not answer.");
});

await browser.close();
console.log(failed === 0 ? "the page is right" : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
