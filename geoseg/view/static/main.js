// The page: asks what is shown and how far it is, and keeps maps and panel in step with it.

import { setWorkerUrl } from "./vendor/maplibre-gl.mjs";
import { QUIET } from "./drawing.js";
import { Pane } from "./pane.js";
import { listLayers, showLayers, showLegend, showNotes, showProgress, showRuns, showScenes } from "./panel.js";
import { closeInfo, followPointer, tellOfClicks } from "./place.js";
import { Swipe } from "./swipe.js";
import { make } from "./words.js";

const SOON_MS = 1000;
const LATER_MS = 4000;
const NARROW_PX = 640;
const OPACITY = { classes: 0.55, confidence: 0.8, uncertainty: 0.8, transitions: 0.7 };
const OFF = new Set(["confidence", "uncertainty"]);
const find = (id) => document.getElementById(id);

setWorkerUrl(new URL("./vendor/maplibre-gl-worker.mjs", import.meta.url).href);

const settings = { on: {}, opacity: {}, hidden: new Set() };
let told = { scenes: [], errors: [] };
let chosen = 0;
let fitted = location.hash.includes("at=");
let right;
let swipe;

/** Gives layers that have just come the settings that they start with; classes are opaque where there is no imagery below. */
function settle(scene) {
  if (settings.bare === undefined && !scene.preparing) settings.bare = !scene.layers.some(({ id }) => id === "imagery");
  if (settings.bare && settings.opacity.classes === OPACITY.classes) settings.opacity.classes = 1;
  if (settings.bare) settings.bare = false;
  for (const { key } of listLayers(scene)) {
    const layer = key.replace("vector:", "");
    settings.on[key] ??= !OFF.has(key) && !(key.startsWith("vector:") && QUIET.has(layer));
    settings.opacity[key] ??= OPACITY[key] ?? 1;
  }
}

/** The settings of the map on the left of the divider: of two runs the same as on the right, of one imagery only. */
function leftSettings() {
  if (told.scenes.length > 1) return settings;
  return { ...settings, on: { imagery: true }, opacity: { ...settings.opacity, imagery: 1 } };
}

function draw() {
  const scene = told.scenes[chosen];
  if (!scene) return;
  told.scenes.forEach(settle);
  right.show(scene, chosen, settings);
  const other = told.scenes.length > 1 ? (chosen === 0 ? 1 : 0) : chosen;
  if (swipe.left?.map.loaded !== undefined && swipe.isReady) swipe.left.show(told.scenes[other], other, leftSettings());
  find("left-name").textContent = told.scenes.length > 1 ? told.scenes[other].name : "Imagery";
  find("right-name").textContent = told.scenes.length > 1 ? scene.name : "Map";
  find("swipe").disabled = told.scenes.length < 2 && !scene.layers.some(({ id }) => id === "imagery");
  showScenes(told.scenes, chosen, (number) => { chosen = number; draw(); });
  showLayers(scene, settings, draw);
  showLegend(scene, settings, draw);
  showRuns(scene, (bounds) => right.fit(bounds, 40, true));
  showProgress(scene);
  showNotes([...new Set([...told.scenes.flatMap(({ notes }) => notes), ...told.errors])]);
  const name = told.scenes.length > 1 ? "Before and after" : scene.name;
  find("title").textContent = name;
  document.title = `${name} · geoseg`;
}

/** Room beside the panel, which covers a part of the map. */
function room() {
  const open = !document.body.classList.contains("folded");
  const narrow = innerWidth <= NARROW_PX;
  const panel = find("panel").getBoundingClientRect();
  return {
    top: 24, right: narrow ? 24 : 48,
    bottom: narrow && open ? Math.min(panel.height + 24, innerHeight / 2) : 60,
    left: !narrow && open ? Math.min(panel.right + 24, innerWidth / 2) : 24,
  };
}

function fit(animate) {
  const boxes = told.scenes.map(({ bounds }) => bounds).filter(Boolean);
  if (!boxes.length) return;
  const [west, south, east, north] = [Math.min, Math.min, Math.max, Math.max].map((end, side) => end(...boxes.map((box) => box[side])));
  right.fit([west, south, east, north], room(), animate && !matchMedia("(prefers-reduced-motion: reduce)").matches);
  fitted = true;
}

async function turnSwipe(on) {
  find("swipe").setAttribute("aria-pressed", String(on));
  swipe.isReady = false;
  const turned = swipe.turn(on);
  const { left } = swipe;
  await turned;
  if (!on || swipe.left !== left) return;
  swipe.isReady = true;
  followPointer(left);
  tellOfClicks(left);
  draw();
}

/** Tells the server what is in view, for a raster that is segmented where one looks at it. */
function tellView() {
  if (!told.scenes[chosen]?.live) return;
  const bounds = right.map.getBounds().toArray().flat();
  fetch(`/api/${chosen}/view`, { method: "POST", body: JSON.stringify({ bounds }) }).then(() => setTimeout(look, 200), () => undefined);
}

let timer = 0;

/** Asks how far it is, and again after a while. */
async function look() {
  clearTimeout(timer);
  let wait = LATER_MS;
  try {
    const answer = await fetch("/api/scenes");
    if (!answer.ok) throw new Error(await answer.text());
    const had = told.scenes.length;
    told = await answer.json();
    document.body.classList.remove("lost");
    if (!had && told.scenes.length > 1) chosen = 1;
    if (!fitted) fit(false);
    draw();
    if (!had) {
      if (told.scenes.length > 1) turnSwipe(true);
      tellView();
    }
    const busy = told.scenes.some(({ runs, live, bounds, preparing }) =>
      !bounds || preparing || (live && live.waiting + live.busy) || runs.some(({ state }) => state === "running" || state === "waiting"));
    wait = busy ? SOON_MS : LATER_MS;
  } catch (error) {
    // fetch itself says so when nobody answers
    const said = error instanceof TypeError ? "geoseg view has ended. Start it again to go on." : `The map cannot be told: ${error.message}`;
    find("progress").replaceChildren(make("div", { textContent: said }));
    delete find("progress").dataset.told;
  }
  timer = setTimeout(look, document.hidden ? 4 * wait : wait);
}

function fold(folded) {
  document.body.classList.toggle("folded", folded);
  find("fold").setAttribute("aria-expanded", String(!folded));
}

function listen() {
  find("fit").addEventListener("click", () => fit(true));
  find("swipe").addEventListener("click", () => turnSwipe(!swipe.isOn));
  find("fold").addEventListener("click", () => fold(!document.body.classList.contains("folded")));
  find("close").addEventListener("click", () => closeInfo([right, swipe.left]));
  right.map.on("moveend", tellView);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]):not([type=range])")) return;
    if (event.key === "Escape") closeInfo([right, swipe.left]);
    if (event.key === "f") fit(true);
    if (event.key === "s" && !find("swipe").disabled) turnSwipe(!swipe.isOn);
    if (event.key === "p") fold(!document.body.classList.contains("folded"));
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
}

async function start() {
  fold(innerWidth <= NARROW_PX);
  try {
    right = new Pane(find("right"), { main: true });
  } catch {
    find("progress").textContent = "This browser draws no maps: it has no WebGL. Try another one, or look at OUT with QGIS.";
    return;
  }
  swipe = new Swipe(right);
  globalThis.geosegView = { right, swipe, settings };
  await right.ready;
  followPointer(right);
  tellOfClicks(right);
  listen();
  await look();
}

start();
