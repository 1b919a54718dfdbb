{{- define "nemotron.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of every name in the release, so that two releases in a namespace have nothing in common. Short enough for suffixes. */}}
{{- define "nemotron.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if eq (include "nemotron.name" .) .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- $name := printf "%s-%s" .Release.Name (include "nemotron.name" .) -}}
{{- ternary $name (printf "%s-%s" (trunc 39 $name | trimSuffix "-") (sha256sum $name | trunc 8)) (le (len $name) 48) -}}
{{- end -}}
{{- end -}}

{{/* What pods of a component are selected by: (list . COMPONENT). Never changed: a Deployment's selector cannot be. */}}
{{- define "nemotron.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "nemotron.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object or a pod of a component: (list . COMPONENT). */}}
{{- define "nemotron.labels" -}}
{{- $root := index . 0 -}}
{{ include "nemotron.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "nemotron.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "nemotron.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* An image of the values: (list VALUES TAG), the tag for where they name none. */}}
{{- define "nemotron.imageOf" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 1)) -}}
{{- end -}}
{{- end -}}

{{- define "nemotron.image" -}}
{{- $kind := ternary "gpu" "cpu" (gt (int .Values.gpu.count) 0) -}}
{{- include "nemotron.imageOf" (list .Values.image (printf "%s-%s" .Chart.AppVersion $kind)) -}}
{{- end -}}

{{- define "nemotron.clientImage" -}}
{{- include "nemotron.imageOf" (list .Values.clientImage (printf "%s-cpu" .Chart.AppVersion)) -}}
{{- end -}}

{{/*
Seconds of a stop beyond the delay and the drain: cancelled requests end within 5, the front within 5, the engine and Triton
within 8. A test holds that these are the launcher's own figures (nemotron_serving.launcher.supervise.longest_stop_s).
*/}}
{{- define "nemotron.stopSeconds" -}}
{{- ternary 18 13 .Values.front.enabled -}}
{{- end -}}

{{- define "nemotron.graceSeconds" -}}
{{- add .Values.server.drainDelaySeconds .Values.server.drainSeconds (include "nemotron.stopSeconds" . | int) -}}
{{- end -}}

{{/* Looks of the startup probe, one in five seconds, until a server that has said nothing is given up. */}}
{{- define "nemotron.startLooks" -}}
{{- div (add .Values.server.verifySeconds .Values.server.startSeconds 4) 5 -}}
{{- end -}}

{{- define "nemotron.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.podSecurity.runAsUser }}
runAsUser: {{ int . }}
{{- end }}
{{- if not (kindIs "invalid" .Values.podSecurity.runAsGroup) }}
runAsGroup: {{ int .Values.podSecurity.runAsGroup }}
{{- end }}
{{- with .Values.podSecurity.fsGroup }}
fsGroup: {{ int . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "nemotron.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
privileged: false
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The package that is served; that of the image for CPUs stands where its Dockerfile says. */}}
{{- define "nemotron.packagePath" -}}
{{- ternary "/opt/nemotron/packages/simulated" (printf "/packages/%s" .Values.package.path) (eq .Values.package.source "simulated") -}}
{{- end -}}

{{/* The claim with packages; empty where there is none. */}}
{{- define "nemotron.claimName" -}}
{{- if eq .Values.package.source "claim" -}}
{{- .Values.package.claim -}}
{{- else if eq .Values.package.source "newClaim" -}}
{{- include "nemotron.fullname" . }}-packages
{{- end -}}
{{- end -}}

{{/* A volume for them, where the package is not in the image. */}}
{{- define "nemotron.packagesVolume" -}}
- name: packages
{{- if eq .Values.package.source "image" }}
  image:
    reference: {{ .Values.package.image.reference | quote }}
    pullPolicy: {{ .Values.package.image.pullPolicy }}
{{- else }}
  persistentVolumeClaim: {claimName: {{ include "nemotron.claimName" . | quote }}}
{{- end }}
{{- end -}}

{{/* Requests and limits, with GPUs: (list . RESOURCES). */}}
{{- define "nemotron.resourcesWithGpus" -}}
{{- $gpu := (index . 0).Values.gpu -}}
{{- $gpus := ternary (dict $gpu.resource (int $gpu.count)) dict (gt (int $gpu.count) 0) -}}
requests: {{- merge (dict) $gpus (index . 1).requests | toYaml | nindent 2 }}
limits: {{- merge (dict) $gpus (index . 1).limits | toYaml | nindent 2 }}
{{- end -}}

{{/* Servers that there are at the least. */}}
{{- define "nemotron.fewestReplicas" -}}
{{- ternary .Values.replicas .Values.autoscaling.minReplicas (eq .Values.autoscaling.kind "none") | int -}}
{{- end -}}

{{- define "nemotron.mostReplicas" -}}
{{- ternary .Values.replicas .Values.autoscaling.maxReplicas (eq .Values.autoscaling.kind "none") | int -}}
{{- end -}}

{{/* The front's options, as one word of nemotron-serve: it splits it as a shell would. */}}
{{- define "nemotron.frontOptions" -}}
{{- $options := list "--workers" (toString .Values.front.workers) -}}
{{- range .Values.front.servedModelNames }}{{ $options = concat $options (list "--served-model-name" .) }}{{ end -}}
{{- range .Values.front.corsOrigins }}{{ $options = concat $options (list "--cors-origin" .) }}{{ end -}}
{{- if .Values.front.apiKeys.existingSecret }}{{ $options = concat $options (list "--api-key-file" "/etc/nemotron/api-keys/keys") }}{{ end -}}
{{- $words := list -}}
{{- range concat $options .Values.front.extraArgs }}{{ $words = append $words (regexMatch "^[A-Za-z0-9_./:=@%+,-]+$" . | ternary . (printf "'%s'" .)) }}{{ end -}}
{{- join " " $words -}}
{{- end -}}

{{/* Seconds that Envoy goes on after its Service has forgotten it: it would cut all streams at SIGTERM. Kubernetes may refuse a sleep of 0. */}}
{{- define "nemotron.edgeLeaveSeconds" -}}
{{- max 1 (add .Values.server.drainDelaySeconds .Values.server.drainSeconds) -}}
{{- end -}}

{{/* backendRefs of a route: (list . PORT). */}}
{{- define "nemotron.backends" -}}
{{- $root := index . 0 -}}
{{- $port := index . 1 -}}
- {name: {{ include "nemotron.fullname" $root }}, port: {{ $port }}, weight: {{ $root.Values.routes.weight }}}
{{- range $root.Values.routes.others }}
- {name: {{ .service }}, port: {{ $port }}, weight: {{ .weight }}}
{{- end }}
{{- end -}}

{{/* A NetworkPolicy's way to the DNS. */}}
{{- define "nemotron.dnsEgress" -}}
- ports:
    - {protocol: UDP, port: {{ .Values.networkPolicy.dns.port }}}
    - {protocol: TCP, port: {{ .Values.networkPolicy.dns.port }}}
  {{- with .Values.networkPolicy.dns.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* How the number of servers changes, for a HorizontalPodAutoscaler: up fast, down one by one as they drain. */}}
{{- define "nemotron.scaling" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - {type: Percent, value: 100, periodSeconds: {{ .Values.autoscaling.scaleUpSeconds }}}
    - {type: Pods, value: 1, periodSeconds: {{ .Values.autoscaling.scaleUpSeconds }}}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownAfterSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: {{ min 1800 (include "nemotron.graceSeconds" .) }}}
{{- end -}}

{{/* What no schema can say: values that do not go together. */}}
{{- define "nemotron.check" -}}
{{- $package := .Values.package -}}
{{- if and (eq $package.source "claim") (not $package.claim) -}}
{{- fail "package.claim: name the PersistentVolumeClaim that holds packages, or choose another package.source" -}}
{{- end -}}
{{- if and (eq $package.source "image") (not $package.image.reference) -}}
{{- fail "package.image.reference: name the OCI image that holds packages, or choose another package.source" -}}
{{- end -}}
{{- if and (eq $package.source "newClaim") (ne $package.newClaim.accessMode "ReadWriteMany") (gt (include "nemotron.mostReplicas" . | int) 1) -}}
{{- fail (printf "package.newClaim.accessMode: with %s one node alone can mount it, and there may be %s servers; take ReadWriteMany" $package.newClaim.accessMode (include "nemotron.mostReplicas" .)) -}}
{{- end -}}
{{- if and (eq $package.source "simulated") (gt (int .Values.gpu.count) 0) -}}
{{- fail "gpu.count: a simulated package needs no GPU; set it to 0" -}}
{{- end -}}
{{- if and (gt (int .Values.gpu.count) 1) (not .Values.sharedMemory) -}}
{{- fail "sharedMemory: several GPUs exchange tensors through /dev/shm, and 64 MiB are too little; set a size such as 1Gi" -}}
{{- end -}}
{{- if and (eq (toString .Values.rollout.maxSurge) "0") (eq (toString .Values.rollout.maxUnavailable) "0") -}}
{{- fail "rollout.maxSurge: with 0 here and in rollout.maxUnavailable no server could be replaced" -}}
{{- end -}}
{{- if ne .Values.autoscaling.kind "none" -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas: %v is more than autoscaling.maxReplicas, %v" .Values.autoscaling.minReplicas .Values.autoscaling.maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- range $kind := list "grpc" "http" -}}
{{- $route := index $.Values.routes $kind -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- fail (printf "routes.%s.parentRefs: name a Gateway, as {name: NAME, namespace: NAMESPACE}" $kind) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.routes.grpc.enabled .Values.routes.http.enabled (eq (toJson .Values.routes.grpc.parentRefs) (toJson .Values.routes.http.parentRefs)) -}}
{{- if or (not .Values.routes.grpc.hostnames) (not .Values.routes.http.hostnames) -}}
{{- fail "routes.grpc.hostnames: on one listener a GRPCRoute and an HTTPRoute need names of their own; give both routes hostnames" -}}
{{- end -}}
{{- range .Values.routes.grpc.hostnames -}}
{{- if has . $.Values.routes.http.hostnames -}}
{{- fail (printf "routes.grpc.hostnames: %s is also a name of routes.http, and a listener gives a name to one of them" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled (not .Values.inferencePool.picker) -}}
{{- fail "inferencePool.picker: name the Service of the endpoint picker" -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled (not .Values.front.enabled) -}}
{{- fail "inferencePool.enabled: the pool is one of fronts; set front.enabled" -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled .Values.routes.others -}}
{{- fail "routes.others: what asks for an answer goes to the pool of this release alone, so other releases get no share; leave it empty, or set inferencePool.enabled to false" -}}
{{- end -}}
{{- if and .Values.edge.enabled (not .Values.edge.keys.existingSecret) -}}
{{- fail "edge.keys.existingSecret: name the Secret with keys.yaml; deploy/envoy/keys.example.yaml shows one" -}}
{{- end -}}
{{- if and .Values.edge.enabled .Values.front.enabled .Values.front.apiKeys.existingSecret -}}
{{- fail "front.apiKeys.existingSecret: the edge asks for keys and hands none on, so the front would refuse every request; leave it empty" -}}
{{- end -}}
{{- if .Values.build.enabled -}}
{{- if not (include "nemotron.claimName" .) -}}
{{- fail (printf "build.enabled: it writes to a claim, and package.source is %s; take claim or newClaim" $package.source) -}}
{{- end -}}
{{- if not .Values.build.checkpointClaim -}}
{{- fail "build.checkpointClaim: name the PersistentVolumeClaim with the checkpoint" -}}
{{- end -}}
{{- if lt (int .Values.gpu.count) 1 -}}
{{- fail "gpu.count: a build needs a GPU" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.bench.scenarioFile (ne .Values.bench.scenario "own") -}}
{{- fail (printf "bench.scenario: it is %s, and bench.scenarioFile holds another one; set it to own" .Values.bench.scenario) -}}
{{- end -}}
{{- if and (eq .Values.bench.scenario "own") .Values.bench.enabled (not .Values.bench.scenarioFile) -}}
{{- fail "bench.scenarioFile: own was asked for, and there is none" -}}
{{- end -}}
{{- end -}}
