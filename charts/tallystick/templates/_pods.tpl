{{/* What every pod of the release has in common: nobody's root, no privilege, no token. */}}
{{- define "tallystick.pod" -}}
serviceAccountName: {{ include "tallystick.serviceAccount" . }}
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with .Values.fsGroup }}
  fsGroup: {{ . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "tallystick.container" -}}
image: {{ include "tallystick.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* The consortium file and this member's key, where a step's pod finds them too. */}}
{{- define "tallystick.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: consortium, mountPath: /etc/tallystick/consortium, readOnly: true}
- {name: identity, mountPath: /etc/tallystick/identity, readOnly: true}
{{- end }}

{{- define "tallystick.volumes" -}}
- name: tmp
  emptyDir: {}
- name: consortium
  configMap:
    name: {{ include "tallystick.consortium" . }}
- name: identity
  secret:
    secretName: {{ include "tallystick.identity" . }}
    defaultMode: 0440
{{- end }}
