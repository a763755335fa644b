// The page at /docs: shows the server's OpenAPI document, which it fetches from beside it.

const $ = (id) => document.getElementById(id);

/** An element with a text or children; what is undefined is left out. */
function make(tag, content, attributes = {}) {
  const element = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...[content].flat().filter((part) => part !== undefined));
  return element;
}

/** A text in which `words` are code. */
function prose(text, tag = "p") {
  const parts = text.split("`").map((part, index) => (index % 2 === 1 ? make("code", part) : part));
  return make(tag, parts);
}

/** The name that a reference ends with. */
const named = (reference) => reference.split("/").pop();

function link(schema) {
  return make("a", schema, { href: `#schema-${schema}` });
}

/** A schema in a few words. */
function words(schema = {}) {
  if (schema.$ref) {
    return [link(named(schema.$ref))];
  }
  const several = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (several) {
    return several.flatMap((one, index) => (index === 0 ? words(one) : [" or ", ...words(one)]));
  }
  if (schema.const !== undefined || schema.enum) {
    return [(schema.enum ?? [schema.const]).map((value) => JSON.stringify(value)).join(", ")];
  }
  if (schema.type === "array") {
    const bounds = [schema.minItems && `from ${schema.minItems}`, schema.maxItems && `up to ${schema.maxItems}`];
    return [`list ${bounds.filter(Boolean).join(" ")} of `, ...words(schema.items)];
  }
  if (schema.properties) {
    return [`object of ${Object.keys(schema.properties).join(", ")}`];
  }
  if (schema.format === "binary") {
    return ["bytes"];
  }
  const least = schema.minimum === undefined ? "" : `, from ${schema.minimum}`;
  return [`${[schema.type ?? "anything"].flat().join(" or ")}${least}`];
}

/** Rows of name, type and meaning. */
function rows(list) {
  const row = ({ name, note, schema, description }) =>
    make("tr", [
      make("th", [make("code", name), note && make("small", ` ${note}`)], { scope: "row" }),
      make("td", words(schema)),
      prose(description ?? schema?.description ?? "", "td"),
    ]);
  return make("div", make("table", make("tbody", list.map(row))), { class: "scroll", tabindex: "0" });
}

function members(schema) {
  const required = schema.required ?? [];
  return Object.entries(schema.properties ?? {}).map(([name, of]) => ({
    name,
    schema: of,
    note: required.includes(name) ? "" : "optional",
  }));
}

function contents(content = {}) {
  return Object.entries(content).map(([type, { schema }]) => make("p", [make("code", type), ": ", ...words(schema)]));
}

/** The codes of a refusal, one a line in its description. */
function codes(description) {
  const lines = description.split("\n").map((line) => prose(line.replace(/^- /, ""), "li"));
  return make("ul", lines);
}

function answers(api, responses) {
  const all = Object.entries(responses).map(([status, answer]) => [status, answer.$ref ? api.components.responses[named(answer.$ref)] : answer]);
  return all.map(([status, { description, content }]) =>
    make("li", [make("strong", status), " ", ...(status === "200" ? [prose(description, "span"), ...contents(content)] : [codes(description)])]),
  );
}

function operation(api, path, method, of) {
  const parameters = (of.parameters ?? []).map((parameter) => ({ ...parameter, note: `in ${parameter.in}` }));
  const key = of.security ? "needs a key where the server has keys" : "needs no key";
  const body = of.requestBody;
  return make(
    "details",
    [
      make("summary", [make("code", method.toUpperCase(), { class: "method" }), " ", make("code", path), ` ${of.summary}`]),
      make("p", key, { class: "meta" }),
      ...(parameters.length > 0 ? [make("h3", "Parameters"), rows(parameters)] : []),
      ...(body ? [make("h3", "Body"), prose(body.description ?? ""), ...contents(body.content)] : []),
      make("h3", "Answers"),
      make("ul", answers(api, of.responses), { class: "answers" }),
    ],
    { id: of.operationId },
  );
}

function show(api) {
  $("title").textContent = `${api.info.title} ${api.info.version}: its HTTP API`;
  $("about").replaceWith(...api.info.description.split("\n\n").map((text) => prose(text)));
  const all = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, of]) => ({ tag: of.tags[0], element: operation(api, path, method, of) })),
  );
  for (const { name, description } of api.tags) {
    const own = all.filter(({ tag }) => tag === name).map(({ element }) => element);
    if (own.length > 0) {
      $("operations").append(make("section", [make("h2", name), prose(description), ...own]));
    }
  }
  const schemas = Object.entries(api.components.schemas).map(([name, schema]) =>
    make("section", [make("h3", name), schema.properties ? rows(members(schema)) : make("p", words(schema))], { id: `schema-${name}` }),
  );
  $("schemas").append(make("h2", "schemas"), ...schemas);
  const filter = () => {
    const word = $("filter").value.trim().toLowerCase();
    const hits = all.filter(({ element }) => {
      element.hidden = !element.textContent.toLowerCase().includes(word);
      return !element.hidden;
    });
    document.querySelectorAll("#operations > section").forEach((section) => {
      section.hidden = !section.querySelector("details:not([hidden])");
    });
    $("shown").textContent = `${hits.length} of ${all.length}`;
  };
  $("filter").addEventListener("input", filter);
  filter();
}

/** Opens what the address names. */
function open() {
  const element = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (element?.tagName === "DETAILS") {
    element.open = true;
  }
  element?.scrollIntoView();
}

try {
  const response = await fetch("openapi.json");
  show(await response.json());
  open();
  addEventListener("hashchange", open);
} catch (error) {
  $("operations").append(make("p", `openapi.json cannot be read: ${error.message}`, { class: "problem" }));
}
