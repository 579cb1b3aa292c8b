// What lies under the pointer, and what was clicked.

import { make, sayAttribute, sayLayer, sayPlace } from "./words.js";

const WAIT_MS = 120;
const find = (id) => document.getElementById(id);

async function ask(number, { lng, lat }, signal) {
  const answer = await fetch(`/api/${number}/at?lon=${lng}&lat=${lat}`, { signal });
  return answer.ok ? answer.json() : {};
}

function sayClass(facts) {
  if (!facts.class) return "";
  return facts.confidence === undefined ? facts.class : `${facts.class} ${facts.confidence} %`;
}

function listFacts(pairs) {
  return make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
}

/** Follows the pointer over a map. */
export function followPointer(pane) {
  let timer = 0;
  let asked = new AbortController();
  pane.map.on("mousemove", ({ lngLat, point }) => {
    find("coordinates").textContent = sayPlace(lngLat, pane.scene?.inPixels);
    pane.map.getCanvas().style.cursor = pane.featuresAt(point).length ? "pointer" : "";
    clearTimeout(timer);
    asked.abort();
    timer = setTimeout(async () => {
      asked = new AbortController();
      try {
        find("beneath").textContent = sayClass(await ask(pane.number, lngLat, asked.signal));
      } catch (error) {
        if (error.name !== "AbortError") find("beneath").textContent = "";
      }
    }, WAIT_MS);
  });
  pane.map.on("mouseout", () => {
    clearTimeout(timer);
    asked.abort();
    for (const id of ["coordinates", "beneath"]) find(id).textContent = "";
  });
}

/** Tells of what is clicked on a map. */
export function tellOfClicks(pane) {
  pane.map.on("click", async ({ lngLat, point }) => {
    const features = pane.featuresAt(point);
    pane.choose(features[0]);
    const parts = features.flatMap(({ sourceLayer, properties }) => [
      make("h3", { textContent: sayLayer(sourceLayer).replace(/s$/, "") }),
      listFacts(Object.entries(properties).map(([name, value]) => sayAttribute(name, value))),
    ]);
    let facts = {};
    try {
      facts = await ask(pane.number, lngLat);
    } catch {
      facts = {};
    }
    const { run, class: name, confidence, uncertainty } = facts;
    const percents = { confidence, uncertainty };
    const beneath = [["class", name], ["run", run]].filter(([, value]) => value !== undefined && value !== null);
    for (const [what, value] of Object.entries(percents)) if (value !== undefined) beneath.push([what, `${value} %`]);
    beneath.push(["place", sayPlace(lngLat, pane.scene?.inPixels)]);
    parts.push(make("h3", { textContent: "Pixel" }), listFacts(beneath));
    find("facts").replaceChildren(...parts);
    find("info").hidden = false;
  });
}

/** Closes what tells of a click. */
export function closeInfo(panes) {
  find("info").hidden = true;
  for (const pane of panes) pane?.choose(null);
}
