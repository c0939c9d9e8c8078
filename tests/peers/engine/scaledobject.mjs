// Holds ScaledObjects from standard input against KEDA's own types; prints how many there were.

import { readFileSync } from "node:fs";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { parseAllDocuments } from "yaml";

const documents = parseAllDocuments(readFileSync(0, "utf8")).map((document) => document.toJSON());
for (const document of documents) new ScaledObject(document).validate();
console.log(documents.length);
