// Two maps of one place, and a divider between them.

import { Pane } from "./pane.js";

const STEP = 2;

export class Swipe {
  /** @param {Pane} right The map that is always there. */
  constructor(right) {
    this.right = right;
    this.left = null;
    this.home = document.getElementById("left");
    this.divider = document.getElementById("divider");
    this.divider.addEventListener("pointerdown", (event) => this.divider.setPointerCapture(event.pointerId));
    this.divider.addEventListener("pointermove", (event) => {
      if (this.divider.hasPointerCapture(event.pointerId)) this.place((100 * event.clientX) / innerWidth);
    });
    this.divider.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: this.at - STEP, ArrowRight: this.at + STEP, Home: 0, End: 100 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.place(to);
    });
    this.place(50);
  }

  get isOn() {
    return this.left !== null;
  }

  /** Puts the divider at a percentage of the width. */
  place(percent) {
    this.at = Math.min(100, Math.max(0, percent));
    document.getElementById("maps").style.setProperty("--at", `${this.at}%`);
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.at)));
  }

  /** Opens or closes the map on the left. */
  async turn(on) {
    for (const id of ["left", "divider", "left-name", "right-name"]) document.getElementById(id).hidden = !on;
    if (!on) {
      this.left?.close();
      this.left = null;
      return;
    }
    const left = new Pane(this.home, { main: false });
    this.left = left;
    await left.ready;
    let moving = false;
    const follow = (from, to) => () => {
      if (moving || this.left !== left) return;
      moving = true;
      to.jumpTo({ center: from.getCenter(), zoom: from.getZoom() });
      moving = false;
    };
    follow(this.right.map, left.map)();
    this.right.map.on("move", follow(this.right.map, left.map));
    left.map.on("move", follow(left.map, this.right.map));
  }
}
