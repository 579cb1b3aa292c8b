// How vector layers are drawn: bright lines with a dark seam, so that they are read on any imagery.

const SEAM = "rgba(0, 0, 0, 0.6)";
const LOOKS = {
  buildings: { color: "#ffffff", fill: "#ff5a36" },
  roads: { color: "#ffd84d", fill: "#ffd84d" },
  road_nodes: { color: "#ffd84d", fill: "#ffd84d" },
};
const OTHERS = ["#4cc9f0", "#f72585", "#b5e48c", "#ff9e00", "#c77dff"];
const FATES = {
  new: "#ff4d4f", gone: "#3fa7ff", lost: "#3fa7ff", grown: "#fdae61", shrunk: "#abd9e9", same: "#c3cad3",
  flooded: "#3fa7ff", dry: "#c3cad3", cut: "#ff3d97", "cut off": "#c77dff", open: "#c3cad3", permanent: "#2560c9", unknown: "#f0e442",
};
/** The column that tells what became of a thing, in files that hold what was found between dates or in a flood. */
const FATE_COLUMNS = { "change.gpkg": "status", "impact.gpkg": "state" };
/** Layers that are hidden until somebody asks for them. */
export const QUIET = new Set(["road_nodes", "zones", "impact:zones", "change:transitions"]);

/** The color of a layer, as a swatch shows it. */
export function colorOf(layer, number) {
  return (LOOKS[layer] ?? { color: OTHERS[number % OTHERS.length] }).color;
}

/** The style layers of a vector layer, from below. */
export function drawVector(archive, source) {
  const look = LOOKS[archive.layer] ?? { color: OTHERS[archive.id % OTHERS.length], fill: OTHERS[archive.id % OTHERS.length] };
  const fate = archive.columns.includes(FATE_COLUMNS[archive.file]) ? FATE_COLUMNS[archive.file] : null;
  const paintBy = (color) => (fate ? ["match", ["get", fate], ...Object.entries(FATES).flat(), color] : color);
  const common = { source, "source-layer": archive.layer };
  const width = ["interpolate", ["linear"], ["zoom"], 14, 0.8, 18, 1.8, 22, 3];
  const seam = ["interpolate", ["linear"], ["zoom"], 14, 1.6, 18, 3.8, 22, 6];
  const round = { "line-join": "round", "line-cap": "round" };
  if (archive.kind === "point") {
    const paint = { "circle-radius": 3, "circle-color": paintBy(look.color), "circle-stroke-width": 1, "circle-stroke-color": SEAM };
    return [{ ...common, id: `${source}-point`, type: "circle", paint }];
  }
  const lines = [
    { ...common, id: `${source}-seam`, type: "line", layout: round, paint: { "line-color": SEAM, "line-width": seam } },
    { ...common, id: `${source}-line`, type: "line", layout: round, paint: { "line-color": paintBy(look.color), "line-width": width } },
  ];
  if (archive.kind === "line") return lines;
  const paint = { "fill-color": paintBy(look.fill), "fill-opacity": fate ? 0.4 : 0.12 };
  return [{ ...common, id: `${source}-fill`, type: "fill", paint }, ...lines];
}

/** Sets the opacity of style layers that :func:`drawVector` made. */
export function fadeVector(map, layers, opacity) {
  for (const { id, type, paint } of layers) {
    if (type === "fill") map.setPaintProperty(id, "fill-opacity", paint["fill-opacity"] * opacity);
    if (type === "line") map.setPaintProperty(id, "line-opacity", opacity);
    if (type === "circle") {
      map.setPaintProperty(id, "circle-opacity", opacity);
      map.setPaintProperty(id, "circle-stroke-opacity", opacity);
    }
  }
}
