{{- define "nemotron.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of every name in the release, so that two releases in a namespace have nothing in common. Short enough for suffixes. */}}
{{- define "nemotron.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "nemotron.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "nemotron.name" .) | trunc 40 | trimSuffix "-" -}}
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

{{- define "nemotron.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- $kind := ternary "gpu" "cpu" (gt (int .Values.gpu.count) 0) -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default (printf "%s-%s" .Chart.AppVersion $kind)) -}}
{{- end -}}
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

{{/* Where packages are mounted, and the one that is served. */}}
{{- define "nemotron.packagesDirectory" -}}/packages{{- end -}}

{{- define "nemotron.packagePath" -}}
{{- include "nemotron.packagesDirectory" . }}/{{ ternary "simulated" .Values.package.path (eq .Values.package.source "simulated") -}}
{{- end -}}

{{/* The claim with packages; empty where there is none. */}}
{{- define "nemotron.claimName" -}}
{{- if eq .Values.package.source "claim" -}}
{{- .Values.package.claim -}}
{{- else if eq .Values.package.source "newClaim" -}}
{{- include "nemotron.fullname" . }}-packages
{{- end -}}
{{- end -}}

{{- define "nemotron.packagesVolume" -}}
- name: packages
{{- if eq .Values.package.source "image" }}
  image:
    reference: {{ .Values.package.image.reference | quote }}
    pullPolicy: {{ .Values.package.image.pullPolicy }}
{{- else if eq .Values.package.source "simulated" }}
  emptyDir: {sizeLimit: 256Mi}
{{- else }}
  persistentVolumeClaim: {claimName: {{ include "nemotron.claimName" . | quote }}}
{{- end }}
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
{{- if and (eq .Values.autoscaling.kind "hpa") (lt (int .Values.autoscaling.minReplicas) 1) -}}
{{- fail "autoscaling.minReplicas: 0 needs autoscaling.kind keda" -}}
{{- end -}}
{{- end -}}
{{- end -}}
