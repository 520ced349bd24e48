{{- define "fanfold.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What Pods are known by. Takes (list context component); never changed, as selectors of Deployments can't be. */}}
{{- define "fanfold.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "fanfold.labels" -}}
{{ include "fanfold.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end -}}

{{- define "fanfold.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* A value as TOML. Helm reads every number as a float and `toToml` writes it as one, which no count of the node's takes. */}}
{{- define "fanfold.tomlValue" -}}
{{- if kindIs "map" . -}}
{ {{- $first := true -}}
{{- range $key, $value := . -}}
{{- if not $first }},{{ end }} {{ toJson $key }} = {{ include "fanfold.tomlValue" $value -}}
{{- $first = false -}}
{{- end }} }
{{- else if kindIs "slice" . -}}
[{{- range $index, $value := . -}}
{{- if $index }}, {{ end -}}{{ include "fanfold.tomlValue" $value -}}
{{- end -}}]
{{- else if and (kindIs "float64" .) (eq (floor .) (float64 .)) -}}
{{- printf "%.0f" . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* A table with its tables behind it. Takes (list path table). */}}
{{- define "fanfold.tomlTable" -}}
{{- $path := index . 0 -}}
{{- if $path }}
[{{ $path }}]
{{ end -}}
{{- range $key, $value := index . 1 -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) -}}
{{ $key }} = {{ include "fanfold.tomlValue" $value }}
{{ end -}}
{{- end -}}
{{- range $key, $value := index . 1 -}}
{{- if kindIs "map" $value -}}
{{- include "fanfold.tomlTable" (list (ternary (printf "%s.%s" $path $key) $key (ne $path "")) $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration with what a component changes. Takes (list context changes). */}}
{{- define "fanfold.config" -}}
{{- include "fanfold.tomlTable" (list "" (mustMergeOverwrite (deepCopy (index . 0).Values.config) (deepCopy (index . 1)))) | trim -}}
{{- end -}}

{{/* What of it concerns workers. */}}
{{- define "fanfold.workerConfig" -}}
{{- include "fanfold.tomlTable" (list "" (mustMergeOverwrite (deepCopy (pick .Values.config "node" "runs" "models")) (deepCopy .Values.workers.config))) | trim -}}
{{- end -}}

{{/* Nobody in particular, on a file system that can't be written. */}}
{{- define "fanfold.podSecurity" -}}
automountServiceAccountToken: false
{{- with .Values.serviceAccount.name }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "fanfold.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The configuration and the secrets. Takes (list context config-map secrets). */}}
{{- define "fanfold.volumes" -}}
- name: config
  configMap:
    name: {{ index . 1 }}
{{- range $name, $secret := index . 2 }}
- name: secret-{{ $name }}
  secret:
    secretName: {{ $secret.secret }}
    defaultMode: 0440
    items:
      {{- range $secret.items }}
      - key: {{ .key }}
        path: {{ dig "path" .key . }}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "fanfold.mounts" -}}
- name: config
  mountPath: /etc/fanfold/fanfold.toml
  subPath: fanfold.toml
  readOnly: true
{{- range $name, $_ := index . 2 }}
- name: secret-{{ $name }}
  mountPath: /etc/fanfold/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* Peers and ports of a rule of a network policy. */}}
{{- define "fanfold.egress" -}}
{{- $protocols := dig "protocols" (list "TCP") . -}}
- ports:
    {{- range $port := .rule.ports }}
    {{- range $protocols }}
    - port: {{ $port }}
      protocol: {{ . }}
    {{- end }}
    {{- end }}
  {{- with .rule.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
