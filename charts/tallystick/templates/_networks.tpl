{{/* Where peers are, as a NetworkPolicy says it; nothing where they may be anywhere. */}}
{{- define "tallystick.where" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if or $policy.peerCidrs $policy.peerNamespaces -}}
{{- range $policy.peerCidrs }}
- ipBlock: {cidr: {{ . }}}
{{- end }}
{{- range $policy.peerNamespaces }}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ . }}}
{{- end }}
# Other parties of this namespace, as in a trial.
- podSelector:
    matchLabels: {app.kubernetes.io/name: tallystick}
{{- end -}}
{{- end }}

{{/* The ports that members listen at, as the consortium says: each is what one may dial. */}}
{{- define "tallystick.peerPorts" -}}
{{- $ports := list (int .Values.port) -}}
{{- range append .Values.consortium.parties .Values.consortium.dealer -}}
{{- if .address -}}
{{- $ports = append $ports (int (splitList ":" .address | last)) -}}
{{- with .listen -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{ uniq $ports | toJson }}
{{- end }}

{{- define "tallystick.apiServer" -}}
- to:
    {{- range .Values.networkPolicy.apiServerCidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports:
    - {protocol: TCP, port: 443}
    - {protocol: TCP, port: 6443}
{{- end }}
