// Package token finds out who is asking: it checks passwords, gives out tokens and recognises them.
package token
