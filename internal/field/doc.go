// Package field has one table of what can be known of a socket: the name that a
// person types, the key of the NDJSON schema, the type, in which runs it is known, and
// how it is read. Filters, summaries and the choice of columns name their fields by it.
//
// A value is read from a Subject, which is one row of a view or one record of the
// stream. Reading allocates nothing. What is absent is said so: it is never 0 or "".
package field
