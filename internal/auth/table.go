package auth

import (
	"github.com/keelson-db/keelson/internal/storage"
)

// Table is all users and roles.
type Table struct{}

// Open reads the table that the engine holds.
func Open(e *storage.Engine) (*Table, error) { return &Table{}, nil }

// View returns the published table.
func (t *Table) View() *View { return &View{} }

// Working returns the table with the changes of the group that is being applied.
func (t *Table) Working() *View { return &View{} }

// Publish makes the group's changes visible.
func (t *Table) Publish() {}

// Changed returns a channel that is closed at the next Publish that changed anything.
func (t *Table) Changed() <-chan struct{} { return nil }

// Enable switches users on.
func (t *Table) Enable(b *storage.Batch, key []byte) error { return nil }

// Disable switches users off.
func (t *Table) Disable(b *storage.Batch) error { return nil }

// AddUser adds a user; hash is empty with noPassword.
func (t *Table) AddUser(b *storage.Batch, name string, hash []byte, noPassword bool) error {
	return nil
}

// DeleteUser removes a user.
func (t *Table) DeleteUser(b *storage.Batch, name string) error { return nil }

// ChangePassword replaces a user's password.
func (t *Table) ChangePassword(b *storage.Batch, name string, hash []byte) error { return nil }

// GrantRole gives a user a role.
func (t *Table) GrantRole(b *storage.Batch, user, role string) error { return nil }

// RevokeRole takes a role from a user.
func (t *Table) RevokeRole(b *storage.Batch, user, role string) error { return nil }

// AddRole adds a role.
func (t *Table) AddRole(b *storage.Batch, name string) error { return nil }

// DeleteRole removes a role, also from the users that have it.
func (t *Table) DeleteRole(b *storage.Batch, name string) error { return nil }

// GrantPermission lets a role do more.
func (t *Table) GrantPermission(b *storage.Batch, role string, p Permission) error { return nil }

// RevokePermission takes the permission of exactly a range from a role.
func (t *Table) RevokePermission(b *storage.Batch, role string, key, end []byte) error { return nil }
