// Package house holds no code: its test measures the source tree and keeps the
// limits that make it readable. Large objects are the ones that grow unnoticed,
// one field and one method at a time.
package house
