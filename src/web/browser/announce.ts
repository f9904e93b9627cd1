/** Says things to screen readers, politely and not often. */

/** How long it is silent after it has said something, in milliseconds. */
const pause = 5000;

/** @returns a function that says a text; of those that come while it is silent only the last is said */
export function newAnnouncer(): (text: string) => void {
  const region = document.createElement("p");
  region.className = "hidden";
  region.setAttribute("role", "status");
  document.body.append(region);
  let next: string | undefined;
  let silent = false;
  const say = (text: string): void => {
    if (silent) {
      next = text;
      return;
    }
    region.textContent = text;
    silent = true;
    setTimeout(() => {
      silent = false;
      const waiting = next;
      next = undefined;
      if (waiting !== undefined) say(waiting);
    }, pause);
  };
  return say;
}

/** Shows in the page's head whether it is live. */
export function showLine(stands: boolean): void {
  const place = document.getElementById("live");
  const text = stands ? "live" : "connection lost; trying again";
  if (!place || place.textContent === text) return;
  place.textContent = text;
  place.classList.toggle("lost", !stands);
}
