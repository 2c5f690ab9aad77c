{{- define "moiety.name" -}}
{{- printf "%s" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "moiety.selector" -}}
app.kubernetes.io/name: moiety
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "moiety.labels" -}}
{{ include "moiety.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "moiety.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "moiety.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "moiety.container" -}}
image: {{ include "moiety.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* What server and scheduler have in common: the database as the service's role, and settings. */}}
{{- define "moiety.environment" -}}
- name: MOIETY_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.secrets.database }}
      key: url
{{- if .Values.secrets.payees }}
- name: MOIETY_PAYEE_KEY_FILE
  value: /run/secrets/payees/payee-key
{{- end }}
{{- if .Values.secrets.smtp }}
- name: MOIETY_SMTP_PASSWORD_FILE
  value: /run/secrets/smtp/password
{{- end }}
{{- range $name, $value := merge (dict) .Values.settings .Values.tracing }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* A secret's files, which only their reader may open: dict "name" "secret". */}}
{{- define "moiety.secret" -}}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
{{- end }}
