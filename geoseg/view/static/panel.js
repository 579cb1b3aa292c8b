// The panel: layers, classes, runs, progress and notes.

import { colorOf } from "./drawing.js";
import { make, sayArea, sayCount, sayGroup, sayLayer, sayTime } from "./words.js";

const find = (id) => document.getElementById(id);

/** Fills a list if what it shows has changed, so that the focus stays where it is. */
function fill(list, key, items) {
  const told = JSON.stringify(key);
  if (list.dataset.told === told) return;
  list.dataset.told = told;
  list.replaceChildren(...items());
}

/** The layers of a scene as the list has them, the topmost first: each once, however many files hold it. */
export function listLayers(scene) {
  const vectors = [...new Map(scene.vectors.map((archive) => [archive.group, archive])).values()];
  return [
    ...vectors.map((archive) => ({ key: `vector:${archive.group}`, title: sayGroup(archive.group), archive })).reverse(),
    ...scene.layers.map(({ id, title }) => ({ key: id, title })).reverse(),
  ];
}

/** Shows the layers with a switch and an opacity for each. */
export function showLayers(scene, settings, onChange) {
  const layers = listLayers(scene);
  fill(find("layers"), [layers.map(({ key, title }) => [key, title]), scene.counts, settings.bare], () =>
    layers.map(({ key, title, archive }) => {
      const box = make("input", { type: "checkbox", checked: settings.on[key] });
      box.addEventListener("change", () => { settings.on[key] = box.checked; onChange(); });
      const name = make("label", {}, box);
      if (archive) {
        const swatch = make("span", { className: archive.kind === "line" ? "swatch line" : "swatch" });
        swatch.style.background = colorOf(archive.layer, archive.id);
        name.append(swatch);
      }
      name.append(make("span", { className: "name", textContent: title }));
      if (archive) name.append(make("span", { className: "count", textContent: sayCount(scene.counts[archive.group]) }));
      const slide = make("input", { type: "range", min: 0, max: 100, value: 100 * settings.opacity[key], ariaLabel: `Opacity of ${title}` });
      slide.addEventListener("input", () => { settings.opacity[key] = slide.value / 100; onChange(); });
      return make("li", {}, name, slide);
    }));
}

/** Shows the classes with their areas and a switch for each. */
export function showLegend(scene, settings, onChange) {
  find("legend-part").hidden = !scene.legend.length;
  fill(find("legend"), scene.legend, () =>
    scene.legend.map(({ name, color, area_m2: area }) => {
      const box = make("input", { type: "checkbox", checked: !settings.hidden.has(name) });
      box.addEventListener("change", () => {
        settings.hidden[box.checked ? "delete" : "add"](name);
        onChange();
      });
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = color;
      const label = make("label", {}, box, swatch, make("span", { className: "name", textContent: name }));
      label.append(make("span", { className: "area", textContent: sayArea(area) }));
      return make("li", {}, label);
    }));
}

/** Shows the runs of a scene of several; a click goes there. */
export function showRuns(scene, goTo) {
  find("runs-part").hidden = scene.runs.length < 2;
  fill(find("runs"), scene.runs, () =>
    scene.runs.map(({ name, state, error, bounds }) => {
      const button = make("button", { type: "button", textContent: name, disabled: !bounds, title: error ?? name });
      button.addEventListener("click", () => goTo(bounds));
      return make("li", {}, button, make("span", { className: `state ${state}`, textContent: state }));
    }));
}

/** Shows how far a run is that goes on. */
export function showProgress(scene) {
  const lines = [];
  let share = null;
  const { live } = scene;
  if (live) {
    const left = live.waiting + live.busy;
    if (live.is_far) lines.push(`Zoom in to segment: ${sayCount(live.in_view)} tiles are in view.`);
    else if (left) lines.push(`Segmenting: ${sayCount(left)} of ${sayCount(live.in_view)} tiles in view are left.`);
    else lines.push(`${sayCount(live.done)} of ${sayCount(live.chunks)} tiles are segmented.`);
    if (live.error) lines.push(live.error);
    share = live.is_far ? null : live.in_view && left ? 1 - left / live.in_view : null;
  } else {
    const running = scene.runs.filter(({ state }) => ["running", "waiting", "stopped"].includes(state));
    if (scene.runs.length === 1 && running.length) {
      const [{ state, chunksDone, chunks, leftS, error }] = running;
      const count = chunks ? `${sayCount(chunksDone)} of ${sayCount(chunks)} chunks` : "";
      lines.push(`${sayLayer(state)}: ${count}${leftS ? `, about ${sayTime(leftS)} left` : ""}`);
      if (error) lines.push(error);
      share = chunks ? chunksDone / chunks : null;
    } else if (running.length) {
      lines.push(`${sayCount(scene.runs.length - running.length)} of ${sayCount(scene.runs.length)} runs are done.`);
      share = 1 - running.length / scene.runs.length;
    }
  }
  if (!scene.bounds) lines.push("Waiting for the first pixels.");
  fill(find("progress"), [lines, share], () => [
    ...lines.map((line) => make("div", { textContent: line })),
    ...(share === null ? [] : [make("progress", { max: 1, value: share, ariaLabel: "Share that is done" })]),
  ]);
}

/** Shows what the user should know. */
export function showNotes(notes) {
  find("notes-part").hidden = !notes.length;
  fill(find("notes"), notes, () => notes.map((note) => make("li", { textContent: note })));
}

/** Shows a choice between scenes, if there is one. */
export function showScenes(scenes, chosen, onChoose) {
  fill(find("scenes"), [scenes.map(({ name }) => name), chosen], () =>
    scenes.length < 2 ? [] : scenes.map(({ name }, number) => {
      const radio = make("input", { type: "radio", name: "scene", checked: number === chosen });
      radio.addEventListener("change", () => onChoose(number));
      return make("label", { title: name }, radio, name);
    }));
}
