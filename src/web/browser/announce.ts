/** Status messages: to screen readers, and the connection state in the page header. */

/** Between two announcements. */
const quietMs = 5000;

/** @returns a function that announces a text; of those that follow too soon, only the last is announced */
export function newAnnouncer(): (text: string) => void {
  const region = document.createElement("p");
  region.className = "hidden";
  region.setAttribute("role", "status");
  document.body.append(region);
  let next: string | undefined;
  let isQuiet = false;
  const announce = (text: string): void => {
    if (isQuiet) {
      next = text;
      return;
    }
    region.textContent = text;
    isQuiet = true;
    setTimeout(() => {
      isQuiet = false;
      const waiting = next;
      next = undefined;
      if (waiting !== undefined) announce(waiting);
    }, quietMs);
  };
  return announce;
}

export function showConnection(isConnected: boolean): void {
  const place = document.getElementById("live");
  const text = isConnected ? "live" : "connection lost, retrying";
  if (!place || place.textContent === text) return;
  place.textContent = text;
  place.classList.toggle("lost", !isConnected);
}
