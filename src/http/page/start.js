// Begins the page's scripts once it has been painted: before that they would only be in the way of its first picture.
// What is hidden is not painted, and need not wait.

const start = () => import("./app.js");
document.hidden ? start() : requestAnimationFrame(() => setTimeout(start));
