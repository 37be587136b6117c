// The page of genie.curate step=label: one clip, five ratings.

import { start } from "./rating.js";

start({
  thing: "clip",
  answer: "rating",
  values: [1, 2, 3, 4, 5],
  keys: { 1: 1, 2: 2, 3: 3, 4: 4, 5: 5 },
  pictures: (number) => [`clips/${number}.png`],
});
