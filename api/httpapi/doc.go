// Package httpapi turns HTTP into nouns and back: gin carries, huma describes and checks. It decides nothing about nouns; it authenticates,
// bounds and decodes requests, calls the Service that the controller fills, and encodes answers and problems (RFC 9457).
package httpapi
