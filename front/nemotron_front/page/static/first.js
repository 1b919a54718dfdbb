// Fills in the words of index.html. It needs two small modules alone, so there is something to see before the rest came.

import { fillIn } from "./dom.js";

fillIn(document);
