// Numbers and names as people read them.

const round = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** An area on the ground, in the unit that fits. */
export function sayArea(m2) {
  if (m2 === null || m2 === undefined) return "";
  if (m2 < 10_000) return `${m2 < 100 ? round.format(m2) : whole.format(m2)} m²`;
  if (m2 < 1_000_000) return `${round.format(m2 / 10_000)} ha`;
  return `${round.format(m2 / 1_000_000)} km²`;
}

/** A length on the ground. */
export function sayLength(m) {
  return m < 10_000 ? `${round.format(m)} m` : `${round.format(m / 1000)} km`;
}

/** A length of time. */
export function sayTime(seconds) {
  if (seconds < 90) return `${whole.format(seconds)} s`;
  return seconds < 5400 ? `${whole.format(seconds / 60)} min` : `${round.format(seconds / 3600)} h`;
}

export function sayCount(number) {
  return whole.format(number);
}

/** The name and value of an attribute; what a unit says is taken from the end of its name. */
export function sayAttribute(name, value) {
  const label = name.replace(/_(m2|m)$/, "").replaceAll("_", " ");
  if (typeof value === "boolean") return [label, value ? "yes" : "no"];
  if (typeof value !== "number") return [label, String(value)];
  if (name.endsWith("_m2")) return [label, sayArea(value)];
  if (name.endsWith("_m")) return [label, sayLength(value)];
  return [label, Number.isInteger(value) ? String(value) : round.format(value)];
}

/** The name of a layer of a vector file. */
export function sayLayer(name) {
  const said = name.replaceAll("_", " ");
  return said.charAt(0).toUpperCase() + said.slice(1);
}

/** Layers that are switched together: their name, and what they tell of if that is not what was found. */
export function sayGroup(group) {
  const [about, name] = group.includes(":") ? group.split(":") : [null, group];
  return about ? `${sayLayer(about)}: ${name.replaceAll("_", " ")}` : sayLayer(name);
}

/** A place: degrees, or pixels of a picture that has no place on the earth. */
export function sayPlace({ lng, lat }, inPixels) {
  if (inPixels) {
    const radius = 6378137;
    const x = (lng * Math.PI * radius) / 180;
    const y = radius * Math.asinh(Math.tan((lat * Math.PI) / 180));
    return `x ${x.toFixed(1)}, y ${y.toFixed(1)}`;
  }
  return `${lat.toFixed(6)}, ${lng.toFixed(6)}`;
}

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
