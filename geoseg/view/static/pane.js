// One map: a scene and what of it is on.

import { Map as GlMap, NavigationControl, ScaleControl } from "./vendor/maplibre-gl.mjs";
import { drawVector, fadeVector } from "./drawing.js";

const GROUND = { version: 8, sources: {}, layers: [{ id: "ground", type: "background", paint: { "background-color": "#15181c" } }] };
const CHOSEN = "#00e5ff";

export class Pane {
  /**
   * @param {HTMLElement} home Element that takes the map.
   * @param {{main: boolean}} options The main map has controls and remembers its place in the address.
   */
  constructor(home, { main }) {
    this.map = new GlMap({
      container: home,
      style: GROUND,
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      renderWorldCopies: false,
      fadeDuration: 0,
      maxZoom: 24,
      hash: main ? "at" : false,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    if (main) {
      this.map.addControl(new NavigationControl({ showCompass: false }), "top-right");
      this.scale = new ScaleControl({ maxWidth: 120 });
      this.map.addControl(this.scale, "bottom-left");
    }
    this.shown = new Map();
    this.number = null;
    this.scene = null;
    this.ready = new Promise((resolve) => this.map.once("load", resolve));
    this.map.on("idle", () => { home.dataset.idle = String(Number(home.dataset.idle ?? 0) + 1); });
  }

  /** Shows a scene with settings; what is there already stays, and is fetched again where it has changed. */
  show(scene, number, settings) {
    if (number !== this.number) this.clear();
    this.number = number;
    this.scene = scene;
    const wanted = new Set();
    for (const layer of scene.layers) {
      wanted.add(this.showRaster(layer, number, settings));
    }
    for (const archive of scene.vectors) {
      wanted.add(this.showVector(archive, number, settings));
    }
    for (const id of [...this.shown.keys()].filter((known) => !wanted.has(known))) this.remove(id);
    if (this.scale) document.querySelector(".maplibregl-ctrl-scale").hidden = scene.inPixels;
  }

  showRaster(layer, number, { on, opacity, hidden }) {
    const id = `raster-${layer.id}`;
    const query = layer.id === "classes" ? [...hidden].sort().map((name) => `hide=${encodeURIComponent(name)}`).join("&") : "";
    const address = `${location.origin}/tiles/${number}/${layer.id}/{z}/{x}/{y}${query ? `?${query}` : ""}`;
    const known = this.shown.get(id);
    const bounds = this.scene.bounds ?? [-180, -85, 180, 85];
    const extent = `${bounds} ${layer.maxzoom}`;
    if (!known) {
      this.map.addSource(id, { type: "raster", tiles: [address], tileSize: 256, maxzoom: layer.maxzoom, bounds });
      const paint = { "raster-fade-duration": 0, "raster-resampling": layer.id === "imagery" ? "linear" : "nearest" };
      this.map.addLayer({ id, type: "raster", source: id, paint }, this.above(layer.id));
      this.shown.set(id, { layers: [{ id, type: "raster" }], version: layer.version, address, extent });
    } else if (known.extent !== extent) {
      // runs that have come, or finer pixels
      this.remove(id);
      return this.showRaster(layer, number, { on, opacity, hidden });
    } else if (known.address !== address) {
      this.map.getSource(id).setTiles([address]);
      Object.assign(known, { address, version: layer.version });
    } else if (known.version !== layer.version) {
      this.map.refreshTiles(id);
      known.version = layer.version;
    }
    this.map.setLayoutProperty(id, "visibility", on[layer.id] ? "visible" : "none");
    this.map.setPaintProperty(id, "raster-opacity", opacity[layer.id]);
    return id;
  }

  /** The style layer that a raster goes below, so that layers lie as the list has them. */
  above(layer) {
    const order = ["imagery", "classes", "confidence", "uncertainty", "transitions"];
    const over = order.slice(order.indexOf(layer) + 1).map((name) => `raster-${name}`);
    return [...over, ...[...this.shown.values()].flatMap(({ layers }) => layers.map(({ id }) => id)).filter((id) => id.startsWith("vector-"))]
      .find((id) => this.map.getLayer(id));
  }

  showVector(archive, number, { on, opacity }) {
    const id = `vector-${archive.id}-${archive.version}`;
    const name = `vector:${archive.group}`;
    if (!this.shown.has(id)) {
      const tiles = [`${location.origin}/vectors/${number}/${archive.version}/{z}/{x}/{y}`];
      this.map.addSource(id, { type: "vector", tiles, minzoom: archive.minzoom, maxzoom: archive.maxzoom });
      const layers = drawVector(archive, id);
      for (const layer of layers) this.map.addLayer(layer);
      this.shown.set(id, { layers, archive });
    }
    const { layers } = this.shown.get(id);
    for (const layer of layers) this.map.setLayoutProperty(layer.id, "visibility", on[name] ? "visible" : "none");
    fadeVector(this.map, layers, opacity[name]);
    return id;
  }

  /** The features at a point of the screen, those that are seen first before the others, one of each layer. */
  featuresAt({ x, y }) {
    const layers = [...this.shown.values()].filter(({ archive }) => archive).flatMap((known) => known.layers.map(({ id }) => id));
    if (!layers.length) return [];
    const inside = this.map.queryRenderedFeatures([x, y], { layers });
    // lines are thin, and fingers are not
    const found = inside.length ? inside : this.map.queryRenderedFeatures([[x - 5, y - 5], [x + 5, y + 5]], { layers });
    return [...new Map(found.toReversed().map((feature) => [feature.sourceLayer, feature])).values()].toReversed();
  }

  /** Marks a feature, or none. */
  choose(feature) {
    if (this.map.getLayer("chosen")) this.map.removeLayer("chosen");
    const column = feature && ["instance_id", "edge_id", "node_id", "id"].find((name) => name in feature.properties);
    if (!column || feature.layer.type === "circle") return;
    this.map.addLayer({
      id: "chosen", type: "line", source: feature.source, "source-layer": feature.sourceLayer,
      filter: ["==", ["get", column], feature.properties[column]], paint: { "line-color": CHOSEN, "line-width": 4 },
    });
  }

  /** Shows all of the scene. */
  fit(bounds, padding, animate) {
    if (bounds) this.map.fitBounds([bounds.slice(0, 2), bounds.slice(2)], { padding, animate, maxZoom: 21 });
  }

  remove(id) {
    this.choose(null);
    for (const layer of this.shown.get(id).layers) this.map.removeLayer(layer.id);
    this.map.removeSource(id);
    this.shown.delete(id);
  }

  clear() {
    for (const id of [...this.shown.keys()]) this.remove(id);
  }

  close() {
    this.map.remove();
  }
}
