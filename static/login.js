// Whoever signs in next sees nothing of whoever was here before.

import { forgetOthers } from "./pictures.js";

forgetOthers();
