// Settings of a page. They stand in its address, so that a reload or a link shows the same.

import { kit } from "./kit.js";

/** Connect a control with the parameter `name` of the address; `changed` is called after each change. */
export function keepInAddress(selector, name, changed) {
  const control = kit.find(selector);
  const isBox = control.type === "checkbox";
  const usual = isBox ? String(Number(control.defaultChecked)) : control.defaultValue ?? control.options[0].value;
  const address = new URL(location.href);
  const sent = address.searchParams.get(name);
  if (isBox) control.checked = (sent ?? usual) === "1"; // a browser may have kept another value
  else control.value = sent ?? usual;
  if (control.selectedIndex === -1) control.value = usual; // no such choice
  control.addEventListener("input", () => {
    const { searchParams } = address;
    address.search = location.search; // other settings may have changed it
    const value = isBox ? String(Number(control.checked)) : control.value;
    if (value === usual) searchParams.delete(name);
    else searchParams.set(name, value);
    history.replaceState(history.state, "", address);
    changed();
  });
  return control;
}
