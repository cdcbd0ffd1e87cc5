// Names and keys for what the script of the theme makes, and for what it leaves to the mouse.
// Elements come when they are scrolled into view and when another page is shown: so whatever comes is looked at.

const scrolls = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    // A table that is wider than the page is scrolled with the arrow keys.
    target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
  }
});

const amend = {
  // What copies a block, and the tags of what was found, are no navigation, and there are many of each.
  ".md-code__nav, .md-tags": (nav) => nav.setAttribute("role", "none"),
  ".md-annotation__index": (link) => link.setAttribute("aria-label", `Note ${link.textContent.trim() || ""}`.trim()),
  ".md-typeset__scrollwrap": (wrap) => scrolls.observe(wrap),
  // On a narrow page the menu hides behind a label, which no key reaches.
  ".md-header__button[for=__drawer]": (label) => {
    const drawer = document.getElementById("__drawer");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "md-header__button md-icon menu";
    button.setAttribute("aria-label", "Menu");
    button.setAttribute("aria-expanded", "false");
    button.append(...label.childNodes);
    button.addEventListener("click", () => drawer.click());
    drawer.addEventListener("change", () => {
      button.setAttribute("aria-expanded", String(drawer.checked));
      const seen = (link) => link.checkVisibility({ visibilityProperty: true });
      if (drawer.checked) [...document.querySelectorAll(".md-nav--primary a")].find(seen)?.focus();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && drawer.checked) {
        drawer.click();
        button.focus();
      }
    });
    label.replaceWith(button);
  },
};
const seen = new WeakSet();

function look() {
  for (const [selector, mend] of Object.entries(amend)) {
    for (const element of document.querySelectorAll(selector)) {
      if (!seen.has(element)) {
        seen.add(element);
        mend(element);
      }
    }
  }
}

new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
look();
