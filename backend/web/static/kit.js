// The functions of dashboard.js for the modules of a page: importing that script would run it a second time.

export let kit;

export function setKit(functions) {
  kit = functions;
}
