// What the types of custom resources say of objects: objects on stdin as JSON, faults on stdout as [number, fault].
// An object of a kind without a type is a fault. The argument is the directory of the packages.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const TYPES = {
  "monitoring.coreos.com/v1": "prometheus-operator/monitoring.coreos.com/v1",
  "keda.sh/v1alpha1": "keda/keda.sh/v1alpha1",
  "gateway.networking.k8s.io/v1": "gateway-api/gateway.networking.k8s.io/v1",
};

async function faultOf(object) {
  const where = TYPES[object.apiVersion];
  const types = where ? await import(pathToFileURL(`${process.argv[2]}/@kubernetes-models/${where}/index.js`)) : {};
  const Type = types[object.kind];
  if (!Type) return `there is no type ${object.kind} in ${object.apiVersion}`;
  try {
    new Type(object).validate();
    return null;
  } catch (error) {
    return String(error.message);
  }
}

const faults = [];
for (const [number, object] of JSON.parse(readFileSync(0, "utf8")).entries()) {
  const fault = await faultOf(object);
  if (fault) faults.push([number, fault]);
}
process.stdout.write(JSON.stringify(faults));
