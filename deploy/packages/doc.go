// Package packages has the tests of the deb and rpm packages that build makes.
package packages
