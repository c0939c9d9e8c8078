// Holds PrometheusRule objects from standard input against the operator's own schema; prints how many there were.

import { readFileSync } from "node:fs";
import { monitoringCoreosCom } from "@kubernetes-models/prometheus-operator";
import { parseAllDocuments } from "yaml";

const { PrometheusRule } = monitoringCoreosCom.v1;
const documents = parseAllDocuments(readFileSync(0, "utf8")).map((document) => document.toJSON());
for (const document of documents) new PrometheusRule(document).validate();
console.log(documents.length);
