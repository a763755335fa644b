// What the page asks of the server, and what its refusals mean for people.

/** The API key, in this page's memory alone. */
export const Key = {
  value: "",
  set(value) {
    this.value = value.trim();
  },
  headers() {
    return this.value ? { "X-API-Key": this.value } : {};
  },
};

/** What helps, by problem code, beside what the server says itself. */
const HINTS = {
  unauthorized: "Enter a key above, then try again.",
  unknown_model: "Reload the page: the server has other models now.",
  body_too_large: "Make the photo smaller, or raise --max-body-bytes.",
  image_too_many_pixels: "Make the photo smaller, or raise --max-pixels.",
  image_truncated: "The file is not complete: copy or download it again.",
  image_corrupt: "The file is damaged: open it in a picture editor and save it again.",
  image_unsupported: "Save it as JPEG or PNG.",
  unsupported_media_type: "Save it as JPEG or PNG.",
  empty_body: "The file is empty.",
  body_timeout: "The upload was too slow.",
  no_features: "Its answers are right all the same.",
  internal: "The server's log has the cause under this request id.",
};

/** A problem made here, as the server would write it. */
function problem(code, title, detail) {
  return { code, title, detail };
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...Key.headers(), ...options?.headers } });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    return problem("unreachable", "The server cannot be reached", "it may have been stopped, or refused so large an upload");
  }
  if (response.ok && options?.picture) {
    return { picture: await response.blob() };
  }
  const text = await response.text().catch(() => "");
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    return problem("no_json", `Status ${response.status}`, "the answer is no JSON: is something else between this page and the server?");
  }
  if (response.ok) {
    return { json, text, timing: response.headers.get("server-timing") ?? "" };
  }
  const hint = HINTS[json.code];
  const answer = { ...json, title: json.title ?? `Status ${response.status}`, detail: json.detail ?? "", hint };
  if (response.status === 503) {
    answer.retryAfter = Number(response.headers.get("retry-after")) || 1;
  }
  return answer;
}

/** The served models. */
export function models() {
  return ask("models");
}

/** One model with its classes. */
export function model(name) {
  return ask(`models/${encodeURIComponent(name)}`);
}

/** The path that a photo is sent to. */
export function pathOf(model) {
  return model ? `models/${encodeURIComponent(model)}/classify` : "classify";
}

/** A photo as it is sent: with no type of its own, for the server goes by the bytes. */
function upload(file, signal) {
  return { method: "POST", body: file, signal, headers: { "Content-Type": "application/octet-stream" } };
}

/** The classes of a photo. */
export function classify(file, model, signal) {
  return ask(pathOf(model), upload(file, signal));
}

/** Where the model saw a class in a photo: a `picture` to lay over it. */
export function overlay(file, model, classIndex, signal) {
  const path = `${pathOf(model)}?explain_image=png&explain_class=${classIndex}`;
  return ask(path, { ...upload(file, signal), picture: true });
}
