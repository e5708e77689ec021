"use strict";
// Looks for a newer version of the page every two seconds and puts it in place; what was opened or typed stays.
let version = document.documentElement.dataset.version;
async function look() {
  try {
    const answer = await fetch("version", { cache: "no-store" });
    const newest = await answer.text();
    if (answer.ok && newest !== version) {
      const page = new DOMParser().parseFromString(await (await fetch("/", { cache: "no-store" })).text(), "text/html");
      const open = [...document.querySelectorAll("details")].map((each) => each.open);
      const typed = [...document.querySelectorAll(".filter input")].map((each) => each.value);
      for (const part of ["header", "main", "footer"]) document.querySelector(part).replaceWith(page.querySelector(part));
      document.title = page.title;
      version = page.documentElement.dataset.version;
      enhance(document);
      document.querySelectorAll("details").forEach((each, at) => { each.open = open[at] ?? each.open; });
      document.querySelectorAll(".filter input").forEach((each, at) => {
        each.value = typed[at] ?? "";
        each.dispatchEvent(new Event("input"));
      });
    }
  } catch { /* the server is gone: the page stays as it was */ }
  setTimeout(look, 2000);
}
setTimeout(look, 2000);
