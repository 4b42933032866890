{{/* Names of what other places refer to: the packages' parameters, peers, and other templates. */}}
{{- define "tallystick.labels" -}}
app.kubernetes.io/name: tallystick
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tallystick.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "tallystick.serviceAccount" -}}
{{ .Values.serviceAccount.existingName | default .Release.Name }}
{{- end }}

{{- define "tallystick.identity" -}}
{{ .Values.identity.existingSecret | default (printf "%s-identity" .Release.Name) }}
{{- end }}

{{- define "tallystick.consortium" -}}
{{ .Values.consortium.existingConfigMap | default (printf "%s-consortium" .Release.Name) }}
{{- end }}


{{/* Whether the members are known yet: "yes" or nothing. */}}
{{- define "tallystick.founded" -}}
{{- if or .Values.consortium.existingConfigMap .Values.consortium.parties }}yes{{ end }}
{{- end }}

{{- define "tallystick.trackingUri" -}}
{{- if .Values.mlflow.server.enabled -}}
http://{{ .Release.Name }}-mlflow.{{ .Release.Namespace }}.svc:5000
{{- else -}}
{{ .Values.mlflow.trackingUri }}
{{- end }}
{{- end }}

{{/* The labels of the pods that peers dial. Those of a party's runs stand in the packages. */}}
{{- define "tallystick.peers" -}}
app.kubernetes.io/name: tallystick
app.kubernetes.io/component: {{ .Values.role }}
{{- if eq .Values.role "dealer" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- end }}
