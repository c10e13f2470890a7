// Package p256 holds scalars modulo the order of P-256 and points of the
// curve, constant-time where they are secret and made for batches.
package p256
