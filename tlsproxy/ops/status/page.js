// Fetches the page again every few seconds, and puts what changed in its place. Without it the page is as it was loaded.
"use strict";
(() => {
  const INTERVAL = 5000;
  const label = document.getElementById("refresh");
  const box = label.querySelector("input");
  const parts = ["state", "status"];
  let busy = false;

  async function refresh() {
    if (busy || document.hidden || !box.checked) return;
    busy = true;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focused = document.activeElement && document.activeElement.getAttribute("aria-label");
      const scrolled = [...document.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
      for (const part of parts) document.getElementById(part).replaceWith(fresh.getElementById(part));
      [...document.querySelectorAll(".scroll")].forEach((each, index) => {
        each.scrollLeft = scrolled[index] || 0;
        if (focused && each.getAttribute("aria-label") === focused) each.focus({ preventScroll: true });
      });
      document.title = fresh.title;
      label.classList.remove("lost");
    } catch {
      label.classList.add("lost");
    } finally {
      busy = false;
    }
  }

  label.hidden = false;
  setInterval(refresh, INTERVAL);
  document.addEventListener("visibilitychange", refresh);
  box.addEventListener("change", refresh);
})();
