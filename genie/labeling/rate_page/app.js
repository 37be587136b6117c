// The page of genie.rate: two segments, and which of them is better.

import { start } from "./rating.js";

start({
  thing: "pair",
  answer: "verdict",
  values: ["this", "equal", "other"],
  keys: { ArrowLeft: "this", ArrowRight: "other", e: "equal" },
  pictures: (number) => ["this", "other"].map((side) => `pairs/${number}/${side}.png`),
});
