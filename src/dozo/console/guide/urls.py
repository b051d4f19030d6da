"""Addresses: the tenant's guide."""

from django.urls import path

from dozo.console.guide import views

urlpatterns = [
    path("help", views.contents, name="guide"),
    path("help/<slug:chapter>", views.chapter, name="guide-chapter"),
]
